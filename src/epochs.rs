//! Under which settings requests were accepted, so that replay judges them as they were judged then.
//!
//! The log keeps bodies as they came. If limits or the translation of OTLP metrics change between a
//! crash and the next start, decoding them by the new settings would leave out what was acknowledged
//! or bring what was refused. So each change is noted with its time, and an entry of the log is
//! decoded by the settings of its arrival. Format: FORMAT.md, "Settings of the log".

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::Files;

use crate::config::{self, Config, SETTINGS};

/// Changes that are remembered; entries older than the first are judged by it.
const EPOCHS_MAX: usize = 16;

/// Values by name of the settings that decide what becomes of a record.
type Judging = BTreeMap<String, String>;

/// The settings from some time on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Epoch {
    /// Units: ns.
    from_ns: i64,
    settings: Judging,
}

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    list: Vec<Epoch>,
    current: Judging,
}

impl Epochs {
    /// Reads what is noted in a data folder. A file that cannot be read is told, and all entries are
    /// judged by the settings of `config` then.
    pub(crate) fn load(files: &dyn Files, config: &Config) -> Epochs {
        let path = config.storage.data_dir.join("settings.json");
        let list = match files.read(&path) {
            Ok(content) => parse(&content).unwrap_or_else(|| {
                tracing::error!(path = %path.display(), "it is damaged: replay judges by today's settings");
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "replay judges by today's settings");
                Vec::new()
            }
        };
        Epochs { path, list, current: judging(config) }
    }

    /// The number of the settings by which an entry that arrived at `received_ns` was judged;
    /// nothing where they are today's.
    pub(crate) fn of(&self, received_ns: i64) -> Option<usize> {
        let number = self.list.iter().rposition(|epoch| epoch.from_ns <= received_ns).unwrap_or(0);
        self.list.get(number).filter(|epoch| epoch.settings != self.current).map(|_| number)
    }

    /// How many settings there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The settings of a number that [`Epochs::of`] gave. What is no setting any more is left out.
    ///
    /// Errors: what cannot be read.
    pub(crate) fn config(&self, number: usize) -> Result<Config, String> {
        let known = |name: &String| SETTINGS.iter().any(|setting| setting.name == name);
        let settings =
            self.list.get(number).map(|epoch| epoch.settings.clone()).unwrap_or_default();
        let settings = settings.into_iter().filter(|(name, _)| known(name)).collect();
        config::read(&settings, &BTreeMap::new(), None)
    }

    /// Notes that today's settings count from now on. Has to be on disk before anything is accepted.
    ///
    /// Errors: the file cannot be written.
    pub(crate) fn begin(&self, files: &dyn Files, now_ns: i64) -> io::Result<()> {
        if self.list.last().is_some_and(|epoch| epoch.settings == self.current) {
            return Ok(());
        }
        let mut list = self.list.clone();
        list.push(Epoch { from_ns: now_ns, settings: self.current.clone() });
        let first = list.len().saturating_sub(EPOCHS_MAX);
        let text = render(&list[first..]);
        let new = self.path.with_extension("json.new");
        match files.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files.create(&new, 0)?;
        file.append(&[&storage::seal_text(&text)])?;
        file.sync_data()?;
        files.rename(&new, &self.path)?;
        files.sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

fn judging(config: &Config) -> Judging {
    SETTINGS
        .iter()
        .filter(|setting| {
            setting.name.starts_with("limits.ingest.") || setting.name.starts_with("otlp.")
        })
        .map(|setting| (setting.name.to_owned(), (setting.get)(config)))
        .collect()
}

fn render(list: &[Epoch]) -> String {
    let epochs: Vec<Value> = list
        .iter()
        .map(|epoch| json!({ "from_ns": epoch.from_ns, "settings": epoch.settings }))
        .collect();
    json!({ "version": 1, "epochs": epochs }).to_string()
}

/// Whether the settings noted in a data folder, if there are any, can be read.
pub(crate) fn is_whole(data_dir: &Path) -> bool {
    match std::fs::read(data_dir.join("settings.json")) {
        Ok(content) => parse(&content).is_some(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn parse(content: &[u8]) -> Option<Vec<Epoch>> {
    // Files without a seal are older than it; with a damaged one they are no JSON.
    let file: Value =
        serde_json::from_slice(storage::unseal_text(content).unwrap_or(content)).ok()?;
    if file["version"] != 1 {
        return None;
    }
    file["epochs"]
        .as_array()?
        .iter()
        .map(|epoch| {
            let settings = epoch["settings"].as_object()?.iter();
            let settings =
                settings.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            Some(Epoch {
                from_ns: epoch["from_ns"].as_i64()?,
                settings: settings.collect::<Option<_>>()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use storage::DiskFiles;

    use super::*;

    #[test]
    fn an_entry_is_judged_by_the_settings_of_its_arrival() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.data_dir = folder.path().to_owned();
        let first = Epochs::load(&DiskFiles, &config);
        assert_eq!(first.of(5), None, "nothing was noted: today's count");
        first.begin(&DiskFiles, 10).unwrap();

        config.storage.limits.labels_max = 3;
        let second = Epochs::load(&DiskFiles, &config);
        assert_eq!(second.of(20), Some(0));
        assert_eq!(second.config(0).unwrap().storage.limits.labels_max, 40);
        second.begin(&DiskFiles, 30).unwrap();
        second.begin(&DiskFiles, 30).unwrap();

        let third = Epochs::load(&DiskFiles, &config);
        assert_eq!((third.of(20), third.of(29), third.of(30)), (Some(0), Some(0), None));
        for change in 0..40 {
            config.storage.limits.labels_max = 50 + change;
            Epochs::load(&DiskFiles, &config).begin(&DiskFiles, 100 + change as i64).unwrap();
        }
        assert_eq!(Epochs::load(&DiskFiles, &config).len(), EPOCHS_MAX);
    }

    #[test]
    fn each_flipped_bit_of_the_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.data_dir = folder.path().to_owned();
        Epochs::load(&DiskFiles, &config).begin(&DiskFiles, 10).unwrap();
        assert!(is_whole(folder.path()));
        let path = folder.path().join("settings.json");
        let whole = std::fs::read(&path).unwrap();
        assert!(parse(storage::unseal_text(&whole).unwrap()).is_some(), "as it was before");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_file_falls_back_to_today() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.data_dir = folder.path().to_owned();
        std::fs::write(folder.path().join("settings.json"), b"{\"version\":1,\"epo").unwrap();
        let epochs = Epochs::load(&DiskFiles, &config);
        assert_eq!(epochs.of(1), None);
        epochs.begin(&DiskFiles, 1).unwrap();
        assert_eq!(Epochs::load(&DiskFiles, &config).len(), 1);
    }
}
