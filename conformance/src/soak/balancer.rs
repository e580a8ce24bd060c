//! A load balancer that passes bytes on: each connection to the next instance that takes it. It must not
//! know what is in them.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The running balancer. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Balancer(JoinHandle<()>);

impl Balancer {
    pub(super) async fn start(port: u16, instances: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let (instances, next) = (Arc::new(instances), Arc::new(AtomicUsize::new(0)));
        Ok(Self(tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let instances = Arc::clone(&instances);
                let first = next.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // However it ends, the client sees the end of its connection.
                    let _ = pass_on(client, &instances, first).await;
                });
            }
        })))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass_on(mut client: TcpStream, instances: &[u16], first: usize) -> io::Result<()> {
    let order = instances.iter().cycle().skip(first % instances.len().max(1));
    for port in order.take(instances.len()) {
        if let Ok(mut instance) = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await {
            client.set_nodelay(true)?;
            instance.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut instance).await?;
            break;
        }
    }
    Ok(())
}
