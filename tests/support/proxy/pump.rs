//! One direction of one connection of the proxy: what the fault does to the bytes that pass.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Ending, Fault, Link, Setting, Totals, Toward};

/// One direction of one connection.
pub(super) struct Pump {
    toward: Toward,
    settings: watch::Receiver<Setting>,
    totals: Arc<Totals>,
    /// The setting that `passed` counts under.
    number: u64,
    passed: u64,
    /// Of both directions: the answer that comes now is to be lost.
    asked: Arc<AtomicBool>,
}

impl Pump {
    pub(super) fn new(toward: Toward, link: &Link, asked: &Arc<AtomicBool>) -> Self {
        let (number, settings) = (link.settings.borrow().number, link.settings.clone());
        let (totals, asked) = (Arc::clone(&link.totals), Arc::clone(asked));
        Self { toward, settings, totals, number, passed: 0, asked }
    }

    /// Passes bytes until that side ends (`Ok`) or a fault ends the connection.
    pub(super) async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Ending> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let fault = self.fault().await;
            let read = tokio::select! {
                // The reset of one side goes on to the other.
                read = from.read(&mut buffer) => read.map_err(|_| Ending::Reset)?,
                _ = self.settings.changed() => continue,
            };
            // It may have changed with the bytes in hand, or wait for something else than a stall.
            let fault = if self.settings.has_changed().unwrap_or(false) { self.fault().await } else { fault };
            if fault == Fault::Swallow {
                Totals::add(&self.totals.swallowed, read);
                self.swallow(&mut from).await;
            }
            if read == 0 {
                let _ = to.shutdown().await;
                return Ok(());
            }
            self.pass(&buffer[..read], &mut to, fault).await?;
        }
    }

    /// The fault that holds now, once it is no stall.
    async fn fault(&mut self) -> Fault {
        let Ok(setting) = self.settings.wait_for(|setting| setting.fault != Fault::Stall).await.map(|s| *s)
        else {
            return pending().await;
        };
        if setting.number != self.number {
            (self.number, self.passed) = (setting.number, 0);
        }
        setting.fault
    }

    async fn pass(&mut self, bytes: &[u8], to: &mut WriteHalf<'_>, fault: Fault) -> Result<(), Ending> {
        match fault {
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::LoseAnswer { to: words } => match self.toward {
                Toward::Upstream if contains(bytes, words.as_bytes()) => {
                    self.asked.store(true, Ordering::SeqCst);
                }
                Toward::Client if self.asked.load(Ordering::SeqCst) => {
                    Totals::add(&self.totals.ended, 1);
                    return Err(Ending::Reset);
                }
                _ => {}
            },
            Fault::Trickle(pause) => return self.trickle(bytes, to, pause).await,
            Fault::Cut { toward, after, ending } if toward == self.toward => {
                let left = usize::try_from(after.saturating_sub(self.passed)).unwrap_or(usize::MAX);
                if bytes.len() > left {
                    self.write(&bytes[..left], to).await?;
                    Totals::add(&self.totals.ended, 1);
                    return Err(ending);
                }
            }
            _ => {}
        }
        self.write(bytes, to).await
    }

    async fn trickle(&mut self, bytes: &[u8], to: &mut WriteHalf<'_>, pause: Duration) -> Result<(), Ending> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.settings.has_changed().unwrap_or(false) {
                return self.write(&bytes[at..], to).await;
            }
            self.write(&[*byte], to).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Ending> {
        to.write_all(bytes).await.map_err(|_| Ending::Reset)?;
        self.passed += bytes.len() as u64;
        let total = match self.toward {
            Toward::Upstream => &self.totals.to_upstream,
            Toward::Client => &self.totals.to_client,
        };
        Totals::add(total, bytes.len());
        Ok(())
    }

    /// Takes everything for ever, also the end.
    async fn swallow(&self, from: &mut ReadHalf<'_>) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            Totals::add(&self.totals.swallowed, read);
        }
        pending::<()>().await;
    }
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}
