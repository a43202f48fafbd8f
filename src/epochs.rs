//! Under which settings requests were accepted, so that replay judges them as they were judged then.
//!
//! The log keeps bodies as they came. If limits or the translation of OTLP metrics change between a
//! crash and the next start, decoding them by the new settings would leave out what was acknowledged
//! or bring what was refused. So each change is noted with its time, and an entry of the log is
//! decoded by the settings of its arrival. Format: FORMAT.md, "Settings of the log".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde_json::{Value, json};
use storage::Files;

use crate::config::{self, Config, Given, SETTINGS};

/// Changes that are remembered; entries older than the first are judged by it. Reloads come by the
/// minute at most, and an entry of the log is flushed within minutes.
const EPOCHS_MAX: usize = 256;

/// Values by name.
type Values = BTreeMap<String, String>;

/// The settings that decide what becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judging {
    settings: Values,
    /// What tenants have of their own.
    tenants: BTreeMap<String, Values>,
}

/// The settings from some time on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Epoch {
    /// Units: ns.
    from_ns: i64,
    judging: Judging,
}

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    /// As it was at the start: replay chooses from it.
    list: Vec<Epoch>,
    current: Judging,
    /// The same and what has been noted since.
    noted: Mutex<Vec<Epoch>>,
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
        let noted = Mutex::new(list.clone());
        Epochs { path, list, current: judging(config), noted }
    }

    /// The number of the settings by which an entry that arrived at `received_ns` was judged;
    /// nothing where they are today's.
    pub(crate) fn of(&self, received_ns: i64) -> Option<usize> {
        let number = self.list.iter().rposition(|epoch| epoch.from_ns <= received_ns).unwrap_or(0);
        self.list.get(number).filter(|epoch| epoch.judging != self.current).map(|_| number)
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
        let Some(epoch) = self.list.get(number) else { return Ok(Config::default()) };
        let only_known = |values: &Values| -> Values {
            let known = values.iter().filter(|(name, _)| known(name));
            known.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let tenants = epoch.judging.tenants.iter();
        let given = Given {
            flags: Cow::Owned(only_known(&epoch.judging.settings)),
            tenants: tenants.map(|(id, values)| (id.clone(), only_known(values))).collect(),
            ..Given::default()
        };
        let mut problems = Vec::new();
        let config = config::build(&given, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
    }

    /// Notes that today's settings count from now on. Has to be on disk before anything is accepted.
    ///
    /// Errors: the file cannot be written.
    pub(crate) fn begin(&self, files: &dyn Files, now_ns: i64) -> io::Result<()> {
        self.note(files, self.current.clone(), now_ns, true)
    }

    /// Whether `config` judges otherwise than what is noted last.
    pub(crate) fn differs(&self, config: &Config) -> bool {
        self.noted.lock().last().is_none_or(|last| last.judging != judging(config))
    }

    /// Notes that the settings of `config` count from `from_ns` on. Has to be on disk before a
    /// request that arrived then is accepted.
    ///
    /// Errors: the file cannot be written.
    pub(crate) fn change(
        &self,
        files: &dyn Files,
        config: &Config,
        from_ns: i64,
    ) -> io::Result<()> {
        self.note(files, judging(config), from_ns, false)
    }

    fn note(
        &self,
        files: &dyn Files,
        judging: Judging,
        from_ns: i64,
        is_start: bool,
    ) -> io::Result<()> {
        let mut noted = self.noted.lock();
        let mut list = noted.clone();
        match list.last() {
            // Noted for a time that came too soon: nothing was judged by it yet.
            Some(last) if last.judging == judging && last.from_ns < from_ns && !is_start => {
                list.pop();
            }
            Some(last) if last.judging == judging => return Ok(()),
            _ => {}
        }
        list.push(Epoch { from_ns, judging });
        list.drain(..list.len().saturating_sub(EPOCHS_MAX));
        let text = render(&list);
        let new = self.path.with_extension("json.new");
        match files.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files.create(&new, 0)?;
        file.append(&[&storage::seal_text(&text)])?;
        file.sync_data()?;
        files.rename(&new, &self.path)?;
        files.sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        *noted = list;
        Ok(())
    }
}

fn judging(config: &Config) -> Judging {
    let judges = |name: &str| name.starts_with("limits.ingest.") || name.starts_with("otlp.");
    let settings = SETTINGS.iter().filter(|setting| judges(setting.name));
    let own = config.tenants.iter().map(|(id, tenant)| {
        let given = tenant.given.iter().filter(|(name, _)| judges(name));
        let given: Values = given.map(|(name, value)| (name.clone(), value.clone())).collect();
        (id.as_str().to_owned(), given)
    });
    Judging {
        settings: settings
            .map(|setting| (setting.name.to_owned(), (setting.get)(config)))
            .collect(),
        tenants: own.filter(|(_, given)| !given.is_empty()).collect(),
    }
}

fn render(list: &[Epoch]) -> String {
    let epochs: Vec<Value> = list
        .iter()
        .map(|Epoch { from_ns, judging: Judging { settings, tenants } }| {
            json!({ "from_ns": from_ns, "settings": settings, "tenants": tenants })
        })
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
            let values = |value: &Value| -> Option<Values> {
                let pairs = value.as_object()?.iter();
                pairs
                    .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect()
            };
            let tenants = match epoch.get("tenants") {
                Some(tenants) => tenants
                    .as_object()?
                    .iter()
                    .map(|(id, own)| Some((id.clone(), values(own)?)))
                    .collect::<Option<_>>()?,
                // Written before tenants had limits of their own.
                None => BTreeMap::new(),
            };
            Some(Epoch {
                from_ns: epoch["from_ns"].as_i64()?,
                judging: Judging { settings: values(&epoch["settings"])?, tenants },
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

        config.limits.labels_max = 3;
        let second = Epochs::load(&DiskFiles, &config);
        assert_eq!(second.of(20), Some(0));
        assert_eq!(second.config(0).unwrap().limits.labels_max, 40);
        second.begin(&DiskFiles, 30).unwrap();
        second.begin(&DiskFiles, 30).unwrap();

        let third = Epochs::load(&DiskFiles, &config);
        assert_eq!((third.of(20), third.of(29), third.of(30)), (Some(0), Some(0), None));
        for change in 0..EPOCHS_MAX + 20 {
            config.limits.labels_max = 50 + change;
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
