//! A Kerberos realm of the tests' own: a KDC on the loopback, its principals and their keytabs.

use super::process::Process;
use crate::support::service::free_port;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const REALM: &str = "TEST.ABC.COM";
/// What the broker is called.
pub const BROKER: &str = "kafka/localhost";
/// The principal of the Go program's configuration.
pub const CLIENT: &str = "TEST";

#[derive(Debug)]
pub struct Realm {
    dir: PathBuf,
    address: SocketAddr,
    kdc: Option<Process>,
}

impl Realm {
    /// In `dir`, with the broker's and the client's principal; tickets last for `lifetime`, as
    /// `krb5.conf` writes it.
    pub fn start(dir: &Path, lifetime: &str) -> Self {
        let address = free_port();
        let mut realm = Self { dir: dir.to_owned(), address, kdc: None };
        fs::create_dir(dir.join("kdc")).unwrap();
        let place = dir.display();
        fs::write(
            realm.krb5_conf(),
            format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n \
                 dns_lookup_realm = false\n dns_canonicalize_hostname = false\n rdns = false\n \
                 udp_preference_limit = 1\n ticket_lifetime = {lifetime}\n\
                 [realms]\n {REALM} = {{\n  kdc = {address}\n }}\n\
                 [domain_realm]\n localhost = {REALM}\n"
            ),
        )
        .unwrap();
        fs::write(
            dir.join("kdc.conf"),
            format!(
                "[logging]\n kdc = FILE:{place}/issued.log\n\
                 [kdcdefaults]\n kdc_listen = {address}\n kdc_tcp_listen = {address}\n\
                 [realms]\n {REALM} = {{\n  database_name = {place}/kdc/principal\n  \
                 key_stash_file = {place}/kdc/stash\n  acl_file = {place}/kdc/kadm5.acl\n  \
                 max_life = {lifetime}\n }}\n"
            ),
        )
        .unwrap();
        realm.tool("kdb5_util", &["create", "-s", "-r", REALM, "-P", "master"]);
        realm.add(BROKER);
        realm.add(CLIENT);
        realm.keytab("broker", BROKER);
        realm.keytab("client", CLIENT);
        realm.give_back();
        realm
    }

    /// For `KRB5_CONFIG`.
    pub fn krb5_conf(&self) -> PathBuf {
        self.dir.join("krb5.conf")
    }

    /// Makes a principal with a random key.
    pub fn add(&self, principal: &str) {
        self.tool("kadmin.local", &["addprinc", "-randkey", principal]);
    }

    /// The KDC forgets the principal.
    pub fn remove(&self, principal: &str) {
        self.tool("kadmin.local", &["delprinc", "-force", principal]);
    }

    /// Gives the principal a new key, and writes it to `name.keytab`: every keytab that was
    /// written for it before is worth nothing.
    pub fn keytab(&self, name: &str, principal: &str) -> PathBuf {
        let keytab = self.keytab_path(name);
        let _ = fs::remove_file(&keytab); // the one before
        self.tool("kadmin.local", &["ktadd", "-k", keytab.to_str().unwrap(), principal]);
        assert!(keytab.exists(), "no key for {principal}"); // a query that fails exits with 0
        keytab
    }

    pub fn keytab_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.keytab"))
    }

    /// Stops the KDC.
    pub fn take_away(&mut self) {
        self.kdc = None;
    }

    pub fn give_back(&mut self) {
        let mut command = self.command("krb5kdc");
        command.arg("-n");
        let mut kdc = Process::start("kdc", &self.dir, &command);
        let address = self.address;
        kdc.until("the KDC listens", |_| TcpStream::connect(address).is_ok());
        self.kdc = Some(kdc);
    }

    /// How many tickets it has issued to the client by its keytab.
    pub fn issued(&self) -> usize {
        let log = fs::read_to_string(self.dir.join("issued.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("AS_REQ") && line.contains("ISSUE")).count()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(format!("/usr/sbin/{program}"));
        command.env("KRB5_CONFIG", self.krb5_conf());
        command.env("KRB5_KDC_PROFILE", self.dir.join("kdc.conf"));
        command
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }
}
