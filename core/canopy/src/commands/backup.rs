//! `canopy backup` and `canopy restore`.

use super::File;
use canopy_types::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Backup {
    #[command(flatten)]
    file: File,
    /// Folder for the backup, which is not there yet
    #[arg(long)]
    to: PathBuf,
}

#[derive(clap::Args)]
pub struct Restore {
    #[command(flatten)]
    file: File,
    /// Folder of the backup
    #[arg(long)]
    from: PathBuf,
}

pub async fn backup(args: &Backup) -> Result<()> {
    let made = crate::backup::backup(&args.file.load()?, &args.to).await?;
    let bytes: u64 = made.files.values().map(|content| content.size).sum();
    println!("{} files, {} MiB in {}", made.files.len(), bytes >> 20, args.to.display());
    Ok(())
}

pub async fn restore(args: &Restore) -> Result<()> {
    let config = args.file.load()?;
    let manifest = crate::backup::restore(&config, &args.from).await?;
    println!("{} is as it was at {}", config.data_dir.display(), manifest.made_at);
    for path in manifest.beside.keys() {
        println!("was used beside it: {path}");
    }
    Ok(())
}
