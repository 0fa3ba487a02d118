//! `waystation check`: is the configuration right, and what is in effect?
//!
//! It reads the files and those that they name: no port is bound, no directory made, no broker
//! asked, unless it is told to ask (`--connect`).

use super::{exit, terminal};
use crate::app;
use crate::config::{self, Loaded};
use crate::forward::Finding;
use crate::record::Route;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the configuration in effect as TOML, each value with the line it came from
    #[arg(long)]
    print: bool,
    /// Also ask Kafka: each broker's name, its port, TLS, the login, each topic and the right to
    /// write to it. Nothing is sent
    #[arg(long, conflicts_with = "print")]
    connect: bool,
}

/// Prints the configuration or that it is right; otherwise every problem, one a line.
pub fn run(args: &Args, path: &Path) -> u8 {
    // What is in effect can be shown whatever this box lacks for it.
    let rehearsed = |loaded: Loaded| {
        if args.connect {
            // The rehearsal may begin to talk to the Kerberos library.
            app::prepare_login(&loaded.config.forward);
        }
        if !args.print {
            loaded.rehearse()?;
        }
        Ok(loaded)
    };
    match config::load(path).and_then(rehearsed) {
        Ok(loaded) if args.print => terminal::answer(&loaded.to_toml()),
        Ok(loaded) => {
            for warning in loaded.config.ingest.warnings() {
                terminal::complain(&format!("warning: {warning}"));
            }
            match terminal::answer(&sentence(path, &loaded.config)) {
                exit::OK if args.connect => ask(&loaded.config),
                code => code,
            }
        }
        Err(problems) => {
            terminal::complain(&problems);
            exit::CONFIG
        }
    }
}

/// Prints what Kafka answers, one line a step: what is right on standard output, what is wrong as a
/// problem.
fn ask(config: &config::Config) -> u8 {
    if config.forward.brokers().is_none() {
        terminal::complain(&"there is no Kafka to ask: set bootstrap.servers under [kafka]");
        return exit::CONFIG;
    }
    let route = |route: &crate::ingest::RouteConfig| Route {
        path: route.path.clone(),
        topic: route.topic.clone(),
    };
    let routes: Vec<_> = config.ingest.routes.iter().map(route).collect();
    let (mut code, mut told) = (exit::OK, true);
    config.forward.ask(&routes, |step| match step.finding {
        Finding::Right | Finding::Untold => {
            told &= step.finding == Finding::Right;
            let written = terminal::answer(&format!("{}\n", step.says));
            code = graver(code, written);
        }
        Finding::Away => {
            terminal::complain(&step.says);
            code = graver(code, exit::UNAVAILABLE);
        }
        Finding::Refused => {
            terminal::complain(&step.says);
            code = graver(code, exit::NO_PERMISSION);
        }
    });
    match code {
        exit::OK if told => terminal::answer("all is right: Kafka takes this box's records\n"),
        exit::OK => terminal::answer("all that could be asked is right\n"),
        code => code,
    }
}

/// What is to be put right first: without an answer nothing else is known, and what is not there
/// cannot be allowed.
fn graver(one: u8, other: u8) -> u8 {
    const ORDER: [u8; 4] = [exit::OK, exit::NO_PERMISSION, exit::UNAVAILABLE, exit::IO];
    let rank = |code: &u8| ORDER.iter().position(|known| known == code);
    std::cmp::max_by_key(one, other, rank)
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
    fn what_is_away_outweighs_what_is_refused() {
        let all = [exit::NO_PERMISSION, exit::OK, exit::UNAVAILABLE, exit::NO_PERMISSION];
        assert_eq!(all.into_iter().fold(exit::OK, graver), exit::UNAVAILABLE);
        assert_eq!(graver(exit::OK, exit::NO_PERMISSION), exit::NO_PERMISSION);
        assert_eq!(graver(exit::IO, exit::UNAVAILABLE), exit::IO);
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
