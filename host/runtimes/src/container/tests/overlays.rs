//! What an ignore file names cannot be seen from inside, read or written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use fairlead_core::permission::PermissionProfile;

use super::scene::Bench;
use super::*;

#[tokio::test]
async fn what_is_hidden_is_empty_inside_and_whole_outside() {
    let Some(bench) = Bench::new().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("secrets/deep")).unwrap();
    for (path, content) in
        [(".fairleadignore", ".env\nsecrets/\n"), (".env", "KEY=1"), ("secrets/deep/key", "2"), ("code", "3")]
    {
        fs::write(root.join(path), content).unwrap();
    }
    // The server is another user; what hides is not the mode of a file.
    for path in ["", ".fairleadignore", ".env", "secrets", "secrets/deep", "secrets/deep/key", "code"] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    for writable in [false, true] {
        let mount = vec![format!("{}:/srv", root.display())];
        let permissions = match writable {
            true => PermissionProfile { write: mount, ..PermissionProfile::none() },
            false => PermissionProfile { read: mount, ..PermissionProfile::none() },
        };
        let source = ImageSource { permissions, ..bench.source(&[]) };
        let what = [
            "read /srv/code",
            "read /srv/.env",
            "read /srv/secrets/deep/key",
            "write /srv/secrets/new",
            "write /srv/.fairleadignore",
            "write /srv/.env",
            "read /srv/.env",
        ];
        let said = bench.look(source, &what).await;
        assert_eq!(
            said[..3],
            ["read /srv/code: 3", "read /srv/.env: ", "read /srv/secrets/deep/key: entity not found",]
        );
        assert_eq!(said[3], "write /srv/secrets/new: read-only filesystem or storage medium");
        assert_eq!(said[4], "write /srv/.fairleadignore: read-only filesystem or storage medium");
        assert_eq!(said[6], "read /srv/.env: ");
        assert_eq!(fs::read_to_string(root.join(".env")).unwrap(), "KEY=1");
        assert_eq!(fs::read_to_string(root.join("secrets/deep/key")).unwrap(), "2");
        assert_eq!(fs::read_to_string(root.join(".fairleadignore")).unwrap(), ".env\nsecrets/\n");
    }
    bench.done().await;
}
