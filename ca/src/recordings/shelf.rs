//! What is on disk, for whoever may read it: names in order, headers, and a file to read from. What the log knows
//! of them is for others.

use std::fs::{self, File};
use std::io;

use fireaxe_protocol::names::HostName;
use fireaxe_protocol::recording::Header;
use fireaxe_protocol::statement::Nonce;

use super::{Recordings, opening};

impl Recordings {
    /// Hosts and names of at most `most` that are on disk, in order, from the one after `after` on. What is
    /// there by another name is passed over. Blocks on the disk.
    pub fn names(&self, after: Option<&(HostName, Nonce)>, most: usize) -> Vec<(HostName, Nonce)> {
        let mut hosts: Vec<HostName> = parsed(&self.root);
        hosts.retain(|host| after.is_none_or(|(last, _)| host >= last));
        hosts.sort();
        let mut found = Vec::new();
        for host in hosts {
            let mut names: Vec<Nonce> = parsed(&self.root.join(host.as_str()));
            names.retain(|name| after.is_none_or(|(last, of)| host != *last || name > of));
            names.sort();
            found.extend(names.into_iter().take(most - found.len()).map(|name| (host.clone(), name)));
            if found.len() == most {
                break;
            }
        }
        found
    }

    /// Bytes of one; nothing if it is not there.
    pub fn bytes(&self, host: &HostName, name: Nonce) -> Option<u64> {
        fs::metadata(self.path(host, name)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    }

    /// One, open for reading. Nothing if it is not there.
    pub fn open(&self, host: &HostName, name: Nonce) -> Result<Option<File>, io::Error> {
        match File::open(self.path(host, name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The header of one, if it has a whole one.
    pub fn header(&self, host: &HostName, name: Nonce) -> Option<Header> {
        opening::header_of(&self.path(host, name))
    }
}

/// The names in a folder that are such names.
fn parsed<T: std::str::FromStr>(folder: &std::path::Path) -> Vec<T> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_a_page_at_a_time_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = Recordings::at(dir.path());
        let hosts: Vec<HostName> =
            ["a.prod", "b.prod", "c.prod"].iter().map(|name| name.parse().unwrap()).collect();
        let mut all = Vec::new();
        for host in &hosts {
            fs::create_dir(dir.path().join(host.as_str())).unwrap();
            for n in [9u8, 1, 5] {
                fs::write(dir.path().join(host.as_str()).join(Nonce([n; 16]).to_string()), "x").unwrap();
                all.push((host.clone(), Nonce([n; 16])));
            }
        }
        fs::write(dir.path().join("b.prod/notes.txt"), "x").unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        all.sort();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.names(after.as_ref(), 4);
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 4);
            after = Some(last.clone());
            found.extend(page);
        }
        assert_eq!(found, all);
    }
}
