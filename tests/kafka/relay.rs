//! A way to a broker that can be cut: by refusing connections, or by dropping packets.
//!
//! Packets are dropped by a filter at the sockets' entrance, below TCP: what is sent there is never
//! confirmed, connections are neither made nor refused, and what either side does about it is what it
//! does on a network that swallows everything.

use crate::support::until;
use socket2::{Domain, SockFilter, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The one instruction of a filter that takes nothing: "return 0".
const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    /// Packets are dropped.
    cut: AtomicBool,
    /// The clients' ends of the connections.
    open: Mutex<Vec<Socket>>,
}

#[derive(Debug)]
pub struct Relay {
    at: SocketAddr,
    to: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<(Arc<Socket>, JoinHandle<()>)>,
}

impl Relay {
    /// Takes connections at `at` and makes one each to that port.
    pub fn start(at: SocketAddr, port: u16) -> Self {
        let to = (Ipv4Addr::LOCALHOST, port).into();
        let mut relay = Self { at, to, shared: Arc::default(), listener: None };
        relay.take_again();
        relay
    }

    /// Ends every connection and refuses new ones.
    pub fn refuse(&mut self) {
        self.shared.ended.store(true, SeqCst);
        if let Some((_, thread)) = self.listener.take() {
            thread.join().unwrap();
        }
        for socket in self.shared.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub fn take_again(&mut self) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        until("the address is free", || listener.bind(&self.at.into()).is_ok());
        listener.listen(128).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.shared = Arc::default();
        let (listener, shared, to) = (Arc::new(listener), Arc::clone(&self.shared), self.to);
        let own = Arc::clone(&listener);
        let thread = std::thread::spawn(move || {
            while !shared.ended.load(SeqCst) {
                if let Ok((client, _)) = listener.accept() {
                    join(client, to, &shared);
                } else {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        self.listener = Some((own, thread));
    }

    /// From now on nothing that is sent here arrives, and nothing is sent from here.
    pub fn drop_packets(&self) {
        self.shared.cut.store(true, SeqCst);
        self.each(|socket| socket.attach_filter(&[NOTHING]).unwrap());
    }

    pub fn let_through(&self) {
        self.each(|socket| socket.detach_filter().unwrap());
        self.shared.cut.store(false, SeqCst);
    }

    fn each(&self, change: impl Fn(&Socket)) {
        self.listener.iter().for_each(|(listener, _)| change(listener));
        self.shared.open.lock().unwrap().iter().for_each(change);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.refuse();
    }
}

/// Joins two connections until either ends.
fn join(client: Socket, to: SocketAddr, shared: &Arc<Shared>) {
    client.set_nonblocking(false).unwrap();
    let Ok(broker) = TcpStream::connect(to) else { return };
    let ends = |client: &Socket| TcpStream::from(client.try_clone().unwrap());
    let (near, far) = (ends(&client), broker.try_clone().unwrap());
    shared.open.lock().unwrap().push(client.try_clone().unwrap());
    for (from, into) in [(near, broker), (far, TcpStream::from(client))] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pass_on(from, into, &shared));
    }
}

fn pass_on(mut from: TcpStream, mut into: TcpStream, shared: &Shared) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        while shared.cut.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if into.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both)); // either may be gone
}
