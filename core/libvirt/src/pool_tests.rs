use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};

fn pool(lanes: usize, depth: usize) -> (Arc<Pool>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (lost, exhausted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&exhausted);
    let pool = Pool::new("t", lanes, depth, Arc::clone(&lost), move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (Arc::new(pool.unwrap()), lost, exhausted)
}

fn ticket(domain: Option<ServerId>, millis: u64) -> Ticket {
    Ticket { domain, cure: false, deadline: Duration::from_millis(millis) }
}

/// An id of the given lane.
fn on_lane(lane: u128, lanes: u128) -> ServerId {
    loop {
        let id = ServerId::random();
        if id.0.as_u128() % lanes == lane {
            return id;
        }
    }
}

/// A call that hangs until the sender is used or dropped.
fn hang() -> (Sender<()>, impl FnOnce() + Send + 'static) {
    let (release, gate): (_, Receiver<()>) = channel();
    (release, move || {
        let _ = gate.recv();
    })
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it never became true");
}

const LONG: u64 = 10_000;

#[tokio::test]
async fn calls_of_one_domain_keep_their_order() {
    let (pool, _, _) = pool(3, 64);
    let id = ServerId::random();
    let seen = Arc::new(Mutex::new(vec![]));
    let calls = (0..50).map(|n| {
        let (pool, seen) = (Arc::clone(&pool), Arc::clone(&seen));
        // Polled in order by the join below, so submitted in order.
        async move { pool.run(ticket(Some(id), LONG), move || lock(&seen).push(n)).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for call in calls {
        tasks.spawn(call);
        tokio::task::yield_now().await;
    }
    for result in tasks.join_all().await {
        assert_eq!(result, Ok(()));
    }
    assert_eq!(*lock(&seen), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hanging_call_costs_its_domain_and_no_other() {
    let (pool, lost, exhausted) = pool(2, 8);
    let (bad, good) = (on_lane(0, 2), on_lane(0, 2));
    let (release, call) = hang();
    assert_eq!(pool.run(ticket(Some(bad), 20), call).await, Err(Failure::Timeout));
    assert_eq!(pool.unresponsive(), vec![bad]);
    assert_eq!(pool.run(ticket(Some(bad), LONG), || 1).await, Err(Failure::Unresponsive));
    assert_eq!(pool.run(ticket(Some(good), LONG), || 2).await, Ok(2), "the lane has a new thread");
    let cure = Ticket { cure: true, ..ticket(Some(bad), LONG) };
    assert_eq!(pool.run(cure, || 3).await, Ok(3));
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    drop(release);
    until(|| pool.unresponsive().is_empty()).await;
    assert_eq!(lost.load(Ordering::SeqCst), 0);
    assert_eq!(pool.run(ticket(Some(bad), LONG), || 4).await, Ok(4));
    assert_eq!(exhausted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn at_k_hanging_threads_a_new_connection_is_asked_for_once() {
    let (pool, lost, exhausted) = pool(2, 8);
    let mut gates = vec![];
    for lane in [0, 1] {
        let (release, call) = hang();
        gates.push(release);
        assert_eq!(pool.run(ticket(Some(on_lane(lane, 2)), 20), call).await, Err(Failure::Timeout));
    }
    assert_eq!(exhausted.load(Ordering::SeqCst), 1);
    assert_eq!(lost.load(Ordering::SeqCst), 2);
    drop(pool);
    drop(gates);
    until(|| lost.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn the_queue_is_bounded_and_waiting_has_an_end() {
    let (pool, _, _) = pool(1, 1);
    let id = ServerId::random();
    let (release, call) = hang();
    let (tell, running) = oneshot::channel();
    let other = Arc::clone(&pool);
    let busy = move || {
        let _ = tell.send(());
        call();
    };
    let first = tokio::spawn(async move { other.run(ticket(Some(id), LONG), busy).await });
    running.await.unwrap();
    let (waited, full) =
        tokio::join!(pool.run(ticket(Some(id), 50), || ()), pool.run(ticket(Some(id), 50), || ()));
    assert_eq!((waited, full), (Err(Failure::Queued), Err(Failure::Busy)));
    drop(release);
    assert_eq!(first.await.unwrap(), Ok(()));
    // Full until the thread has thrown the cancelled call away.
    let after = async {
        loop {
            match pool.run(ticket(Some(id), LONG), || 5).await {
                Err(Failure::Busy) => tokio::time::sleep(Duration::from_millis(2)).await,
                other => return other,
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), after).await, Ok(Ok(5)));
}

#[tokio::test]
async fn a_panic_and_a_caller_that_leaves_cost_nothing_else() {
    let (pool, lost, _) = pool(2, 8);
    let id = ServerId::random();
    let panics = pool.run(ticket(Some(id), LONG), || panic!("as a wrapper of libvirt may")).await;
    assert_eq!(panics, Err::<(), _>(Failure::Gone));
    let (release, call) = hang();
    let left = tokio::time::timeout(Duration::from_millis(5), pool.run(ticket(Some(id), 30), call)).await;
    assert!(left.is_err());
    until(|| pool.unresponsive() == [id]).await;
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    drop(release);
    until(|| pool.unresponsive().is_empty()).await;
    assert_eq!(pool.run(ticket(Some(id), LONG), || 6).await, Ok(6));
}
