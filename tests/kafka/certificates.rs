//! A certification authority of the tests' own, and another one that nobody trusts.
//!
//! PEM throughout: Apache Kafka reads key stores of that kind as well as librdkafka.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    pub fn make(dir: &Path) -> Self {
        let made = Self { dir: dir.to_owned() };
        made.authority("ca");
        made.authority("other-ca");
        made.leaf("broker", "ca", "localhost");
        made.leaf("client", "ca", "collector");
        made.leaf("stranger", "other-ca", "collector");
        // A key store of Kafka's is both in one file.
        let both = fs::read_to_string(made.path("broker.key")).unwrap()
            + &fs::read_to_string(made.path("broker.crt")).unwrap();
        fs::write(made.path("broker.pem"), both).unwrap();
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn authority(&self, name: &str) {
        let (key, crt) = (format!("{name}.key"), format!("{name}.crt"));
        self.openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &[
                "-nodes",
                "-days",
                "2",
                "-subj",
                &format!("/CN={name}"),
                "-keyout",
                &key,
                "-out",
                &crt,
            ],
        );
    }

    fn leaf(&self, name: &str, authority: &str, subject: &str) {
        let file = |kind: &str| format!("{name}.{kind}");
        self.openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &["-subj", &format!("/CN={subject}"), "-keyout", &file("key"), "-out", &file("csr")],
        );
        let names = self.path("names");
        fs::write(&names, "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        self.openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial", "-extfile", "names"],
            &[
                "-in",
                &file("csr"),
                "-CA",
                &format!("{authority}.crt"),
                "-CAkey",
                &format!("{authority}.key"),
                "-out",
                &file("crt"),
            ],
        );
    }

    fn openssl(&self, first: &[&str], rest: &[&str]) {
        let mut command = Command::new("openssl");
        let output = command.args(first).args(rest).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "openssl {first:?} {rest:?}: {output:?}");
    }
}
