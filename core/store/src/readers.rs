//! SQLite's connections for reads, handed from one read to the next.
//!
//! A pool asks a connection whether it is alive each time that it comes back, as a server's may be gone; here
//! that would be as much work as most reads are. One that was left in the middle of something goes back to the
//! pool, which looks at it.

use crate::Conn;
use crate::store::{ACQUIRE, db};
use canopy_types::{Error, Result};
use sqlx::AnyPool;
use sqlx::pool::PoolConnection;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

pub struct Readers {
    pool: AnyPool,
    /// As many as the pool has connections: who holds one finds a connection in `idle`, or the pool has one.
    seats: Semaphore,
    idle: Mutex<Vec<PoolConnection<sqlx::Any>>>,
}

/// A connection for one read.
pub struct Reader<'a> {
    conn: Option<PoolConnection<sqlx::Any>>,
    from: &'a Readers,
    whole: bool,
    _seat: SemaphorePermit<'a>,
}

impl Readers {
    pub fn new(pool: AnyPool, connections: u32) -> Self {
        Self { pool, seats: Semaphore::new(connections as usize), idle: Mutex::default() }
    }

    /// Waits for a free connection, as long as a pool would.
    pub async fn take(&self) -> Result<Reader<'_>> {
        let busy = || Error::unavailable("store.busy", "The database is busy. Try again in a second.");
        let seat = tokio::time::timeout(ACQUIRE, self.seats.acquire()).await.map_err(|_| busy())?;
        let seat = seat.map_err(|_| busy())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.pool.acquire().await.map_err(db)?,
        };
        Ok(Reader { conn: Some(conn), from: self, whole: false, _seat: seat })
    }

    pub async fn close(&self) {
        self.seats.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pool.close().await;
    }
}

impl Reader<'_> {
    pub fn conn(&mut self) -> Result<&mut Conn> {
        self.conn.as_deref_mut().ok_or_else(|| Error::internal("store.reader", "a read without a connection"))
    }

    /// The read has come to its end, so that the next one may begin with this connection.
    pub fn done(mut self) {
        self.whole = true;
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if self.whole && !self.from.seats.is_closed() {
            self.from.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.conn.take());
        }
    }
}
