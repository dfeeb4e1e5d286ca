//! Somebody else's reading of the C2SP formats: the crates `tlog_tiles` and `signed_note`, of which nothing is in
//! the product, read a running CA's log over HTTPS and come to the same tree.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

use fireaxe_ca::log::Reader;
use fireaxe_protocol::log::tiles::decode_bundle;
use fireaxe_tests::scene::{COLLEAGUES, policy_without_limits};
use fireaxe_tests::{Ca, World};
use fireaxe_transport::{Ca as Transport, Timeouts};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree,
    record_hash, tree_hash,
};

/// Their tiles, from our server.
struct Served<'c>(&'c Transport);

impl TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // Their path names the height, which tlog-tiles fixes at eight.
            let path = tile.path().replacen("tile/8/", "/log/tile/", 1);
            let told = self
                .0
                .get_raw(&path, None, 8192)
                .map_err(|e| Error::InvalidInput(format!("{path}: {e:?}")))?;
            Ok(told.body)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn ca_with_entries(world: &World, entries: u64) -> Ca {
    let (ana, ben) = (world.engineer("ana"), world.engineer("ben"));
    let on_call: &[&str] = &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"];
    let mut ca =
        world.ca(&world.bundle(&policy_without_limits(), &[(&ana, on_call), (&ben, on_call)], COLLEAGUES));
    ca.start();
    let mut size = 0;
    while size < entries {
        let id = format!("pd:N{size}");
        ca.cmd(&["incident", "put", &id, "--severity", "3", "--system", "payments-db"]).ok();
        size = Reader::open(&ca.data().join("log.sqlite")).unwrap().size().unwrap();
    }
    ca
}

/// The newest head, opened by their note and their checkpoint.
fn head(ca: &Ca, transport: &Transport) -> Checkpoint {
    let note = transport.get_raw("/log/checkpoint", None, 8192).unwrap().body;
    let key = Reader::open(&ca.data().join("log.sqlite")).unwrap().key().to_string();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&key).unwrap())]);
    let note = Note::from_bytes(&note).unwrap();
    let (signed, others) = note.verify(&known).unwrap();
    assert_eq!((signed.len(), others.len()), (1, 0));
    Checkpoint::from_bytes(note.text()).unwrap()
}

#[test]
fn another_implementation_reads_our_tiles_and_proves_with_them() {
    let world = World::new();
    let ca = ca_with_entries(&world, 262);
    let transport =
        Transport::new(ca.url().parse().unwrap(), ca.pin().parse().unwrap(), Timeouts::default()).unwrap();
    let old = head(&ca, &transport);
    ca.cmd(&["incident", "put", "pd:LATER", "--severity", "3", "--system", "payments-db"]).ok();
    let new = head(&ca, &transport);
    assert!(new.size() > old.size() && old.size() >= 262);
    let served = Served(&transport);
    let reader = Reader::open(&ca.data().join("log.sqlite")).unwrap();
    for head in [&old, &new] {
        // It authenticates each tile against the head before it uses a hash of it.
        let hashes = TileHashReader::new(head.size(), *head.hash(), &served);
        assert!(tree_hash(head.size(), &hashes).unwrap() == *head.hash());
        for index in [0, 1, 200, 255, 256, head.size() - 1] {
            let proof = prove_record(head.size(), index, &hashes).unwrap();
            let leaf = record_hash(&reader.entry_bytes(index).unwrap());
            check_record(&proof, head.size(), *head.hash(), index, leaf).unwrap();
            let other = record_hash(b"another entry");
            assert!(check_record(&proof, head.size(), *head.hash(), index, other).is_err());
        }
    }
    let hashes = TileHashReader::new(new.size(), *new.hash(), &served);
    let proof = prove_tree(new.size(), old.size(), &hashes).unwrap();
    check_tree(&proof, new.size(), *new.hash(), old.size(), *old.hash()).unwrap();
    // They have no reader of entry bundles: each entry of ours is one of their records.
    let bundle = reader.entry_bundle(0, 256).unwrap();
    for (index, entry) in (0..).zip(decode_bundle(&bundle).unwrap()) {
        let proof = prove_record(new.size(), index, &hashes).unwrap();
        check_record(&proof, new.size(), *new.hash(), index, record_hash(entry)).unwrap();
        if index > 20 {
            break;
        }
    }
    // A head of another log does not fit these tiles, and theirs says so.
    let foreign = TileHashReader::new(new.size(), record_hash(b"another log"), &served);
    assert!(tree_hash(new.size(), &foreign).is_err());
}
