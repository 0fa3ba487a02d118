//! `waystation check`: is the configuration right, and what is in effect?
//!
//! It reads the files and those that they name, and nothing else: no port is bound, no
//! directory made, no broker asked.

use super::{exit, terminal};
use crate::config::{self, Loaded};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the configuration in effect as TOML, each value with the line it came from
    #[arg(long)]
    print: bool,
}

/// Prints the configuration or that it is right; otherwise every problem, one a line.
pub fn run(args: &Args, path: &Path) -> u8 {
    // What is in effect can be shown whatever this box lacks for it.
    let rehearsed = |loaded: Loaded| {
        if !args.print {
            loaded.rehearse()?;
        }
        Ok(loaded)
    };
    match config::load(path).and_then(rehearsed) {
        Ok(loaded) if args.print => terminal::answer(&loaded.to_toml()),
        Ok(loaded) => terminal::answer(&sentence(path, &loaded.config)),
        Err(problems) => {
            terminal::complain(&problems);
            exit::CONFIG
        }
    }
}

fn sentence(path: &Path, config: &config::Config) -> String {
    let kafka = match config.forward.brokers() {
        None => "no Kafka is configured, so records are kept and wait".to_owned(),
        Some(servers) => format!("records go to {servers}"),
    };
    format!("{} is right; {kafka}\n", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kafka: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waystation.toml");
        std::fs::write(&path, format!("[kafka]\n{kafka}")).unwrap();
        sentence(&path, &config::load(&path).unwrap().config)
    }

    #[test]
    fn the_sentence_names_the_brokers_by_whichever_name_they_were_written() {
        for name in crate::forward::BROKERS {
            let says = said(&format!("{name} = \"kafka-1:9092\""));
            assert!(says.ends_with("is right; records go to kafka-1:9092\n"), "{says}");
        }
        assert!(said("").contains("no Kafka is configured"));
    }
}
