//! Figures by name, printed as a table and written as one flat JSON object.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All figures of a run. Names stay from one release to the next.
#[derive(Debug, Default)]
pub struct Summary {
    figures: BTreeMap<String, f64>,
}

impl Summary {
    /// Records `value` under `name`.
    pub fn put(&mut self, name: &str, value: f64) {
        eprintln!("  {name:<32} {value:>14.3}");
        self.figures.insert(name.to_owned(), value);
    }

    /// A figure recorded before.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Records `ratio.<name>` = figure / ceiling, when both are there.
    pub fn ratio(&mut self, name: &str, ceiling: f64) {
        if let Some(figure) = self.get(name)
            && ceiling > 0.0
        {
            self.put(&format!("ratio.{name}"), figure / ceiling);
        }
    }

    /// Writes `summary.json` into `folder`, keeping figures of other benches that are there.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let path = folder.join("summary.json");
        let mut all: BTreeMap<String, f64> =
            fs::read(&path).ok().and_then(|old| serde_json::from_slice(&old).ok()).unwrap_or_default();
        all.extend(self.figures.clone());
        let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::other)?;
        fs::write(&path, text + "\n")
    }
}

/// The `q`-quantile (0 to 1) of `samples`, which it sorts.
pub fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_samples() {
        let mut samples = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&mut samples, 0.5), 3.0);
        assert_eq!(quantile(&mut samples, 1.0), 5.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
