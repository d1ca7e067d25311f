use super::*;
use std::os::unix::fs::PermissionsExt;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn engine() -> Engine {
    Engine::default()
}

fn component(engine: &Engine) -> Component {
    Component::new(engine, wat::parse_str("(component)").unwrap()).unwrap()
}

fn filled() -> (tempfile::TempDir, Cache, Engine, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), SECRET).unwrap();
    let engine = engine();
    cache.put(&engine, "d", &component(&engine));
    let path = cache.path(&engine, "d");
    assert!(cache.get(&engine, "d").is_some());
    (dir, cache, engine, path)
}

#[test]
fn only_we_can_read_and_write_it() {
    let (_dir, cache, _, path) = filled();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache.dir), mode(&path)), (0o700, 0o600));
    fs::set_permissions(&cache.dir, fs::Permissions::from_mode(0o770)).unwrap();
    let error = Cache::open(&cache.dir, SECRET).err().unwrap();
    assert!(error.message.contains("lets others in"), "{}", error.message);
}

#[test]
fn a_file_that_was_touched_is_removed_and_not_loaded() {
    let (_dir, cache, engine, path) = filled();
    let whole = fs::read(&path).unwrap();
    let put = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    for nth in 0..16 {
        let mut bytes = whole.clone();
        let position = (whole.len() - 1) * nth / 15;
        bytes[position] ^= 1;
        put(&bytes);
        assert!(cache.get(&engine, "d").is_none(), "byte {position}");
        assert!(!path.exists());
        // It comes back with the same owner and mode only through `put`.
        cache.put(&engine, "d", &component(&engine));
    }
    for length in [0, 63, 64, whole.len() - 1] {
        put(&whole[..length]);
        assert!(cache.get(&engine, "d").is_none(), "{length} bytes");
        cache.put(&engine, "d", &component(&engine));
    }
}

#[test]
fn code_of_another_component_another_engine_or_another_key_is_not_loaded() {
    let (_dir, cache, engine, path) = filled();
    fs::copy(&path, cache.path(&engine, "e")).unwrap();
    assert!(cache.get(&engine, "e").is_none(), "the code of another component");
    let mut config = wasmtime::Config::new();
    config.cranelift_nan_canonicalization(true);
    let other = Engine::new(&config).unwrap();
    fs::copy(&path, cache.path(&other, "d")).unwrap();
    assert!(cache.get(&other, "d").is_none(), "the code of another engine");
    let stranger = Cache::open(&cache.dir, &[7; 32]).unwrap();
    assert!(stranger.get(&engine, "d").is_none(), "the code of another installation");
    assert!(Cache::open(&cache.dir, b"short").is_err());
}

#[test]
fn a_file_that_others_can_write_or_a_link_is_not_loaded() {
    let (_dir, cache, engine, path) = filled();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(cache.get(&engine, "d").is_none());
    cache.put(&engine, "d", &component(&engine));
    let elsewhere = cache.dir.join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(cache.get(&engine, "d").is_none());
}

#[test]
fn the_cache_does_not_grow_without_end() {
    let (_dir, cache, engine, _) = filled();
    let component = component(&engine);
    for n in 0..FILES + 20 {
        cache.put(&engine, &format!("d{n}"), &component);
    }
    assert_eq!(fs::read_dir(&cache.dir).unwrap().count(), FILES);
}

#[test]
fn what_is_forgotten_is_gone_and_nothing_else() {
    let (_dir, cache, engine, path) = filled();
    cache.put(&engine, "de", &component(&engine));
    cache.forget("d");
    assert!(!path.exists() && cache.get(&engine, "de").is_some());
}
