"""The file system of the one image: Debian with every server that the deployment runs, Synapse, and the content scanner."""

import shutil
from pathlib import Path

from lab.homes import CHECKOUT, Home
from lab.releases import NEWEST, OLDER, Release
from lab.setup import apt, python
from lab.setup.runner import Work

IMAGE = CHECKOUT / "lab/image"
PACKAGES = IMAGE / "packages.txt"
SCANNER = "opt/matrix-content-scanner"
#: Its source, what it imports, and what stands in for its Rust part.
SCANNER_SOURCE, SCANNER_LOCKED = IMAGE / "source-content-scanner.txt", IMAGE / "requirements-content-scanner.txt"
SCANNER_RUST = IMAGE / "mcs_rust"
#: By which PostgreSQL's operator archives. It calls these commands (github.com/cloudnative-pg/barman-cloud, pkg/utils).
BARMAN, BARMAN_LOCKED = "opt/barman", IMAGE / "requirements-barman.txt"
_BARMAN_COMMANDS = {
    "backup": "backup",
    "backup-delete": "backup_delete",
    "backup-list": "backup_list",
    "backup-show": "backup_show",
    "check-wal-archive": "check_wal_archive",
    "restore": "restore",
    "wal-archive": "walarchive",
    "wal-restore": "walrestore",
}
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt/archives", "var/lib/apt/lists")


def debian(work: Work) -> None:
    """Debian and its packages into image/debian. Raises LabError."""
    root, part = work.home.image / "debian", work.home.image / "debian.part"
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(exist_ok=True)
    sources = apt.sources()
    mirror = [source.uri for source in sources if source.suite == apt.SUITE][:1]
    variant = ("--variant=minbase", "--include=ca-certificates")
    work.run("/usr/sbin/debootstrap", *variant, apt.SUITE, part, *mirror)
    _borrow(part, [f"deb {source.uri} {source.suite} main" for source in sources])
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    work.run("chroot", part, "apt-get", "update", "-q")
    install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES.read_text().split())
    work.run("chroot", part, *install, environment=quiet)
    # CloudNativePG's images run postgres as 26:26; the same here, so that a Cluster needs no postgresUID.
    work.run("chroot", part, "groupmod", "-o", "-g", "26", "postgres")
    work.run("chroot", part, "usermod", "-u", "26", "-g", "26", "postgres")
    for path in _UNUSED:
        shutil.rmtree(part / path, ignore_errors=True)
    (part / "usr/sbin/policy-rc.d").unlink()
    (part / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    _compile(work, part, "/usr/lib/python3.11", "/usr/lib/python3")
    shutil.rmtree(root, ignore_errors=True)
    part.rename(root)


def synapse(work: Work) -> None:
    """The newest Synapse and what it imports into image/synapse. Raises LabError."""
    _download(work, NEWEST, "synapse")


def older_synapse(work: Work) -> None:
    """The same of the older release, into image/older-synapse. Raises LabError."""
    _download(work, OLDER, "older-synapse")


def scanner(work: Work) -> None:
    """The content scanner and what it imports into image/scanner, with a stand-in for its Rust part. Raises LabError."""
    root, part = work.home.image / "scanner", work.home.image / "scanner.part"
    shutil.rmtree(part, ignore_errors=True)
    inside, source = part / SCANNER, part / "source"
    python.download_for_image(work, SCANNER_LOCKED, inside)
    python.download_source(work, SCANNER_SOURCE, inside, source)
    work.run("tar", "-xzf", next(source.glob("*.tar.gz")), "-C", source)
    package = inside / "matrix_content_scanner"
    shutil.copytree(next(source.glob("*/src/matrix_content_scanner")), package)
    for file in SCANNER_RUST.glob("*.py"):
        shutil.copy(file, package / "mcs_rust" / file.name)
    shutil.rmtree(source)
    shutil.rmtree(root, ignore_errors=True)
    part.rename(root)


def barman(work: Work) -> None:
    """Barman's commands for object stores into image/barman. Raises LabError."""
    root, part = work.home.image / "barman", work.home.image / "barman.part"
    shutil.rmtree(part, ignore_errors=True)
    python.download_for_image(work, BARMAN_LOCKED, part / BARMAN)
    commands = part / BARMAN / "commands"
    commands.mkdir()
    for name, module in _BARMAN_COMMANDS.items():
        command = commands / f"barman-cloud-{name}"
        command.write_text(
            f"#!/usr/bin/python3\nimport sys\n\nsys.path.insert(0, '/{BARMAN}')\n"
            f"from barman.clients.cloud_{module} import main\n\nsys.exit(main())\n"
        )
        command.chmod(0o755)
    shutil.rmtree(root, ignore_errors=True)
    part.rename(root)


def compile_synapse(work: Work, home: Home) -> None:
    """Without .pyc files each of 15 processes would compile Synapse anew; the scanner and Barman are compiled with it. The
    older one ends up beside Debian, in image/older: it is a layer of its own. Raises LabError."""
    debian_root, older = home.image / "debian", home.image / "older"
    _compiled(work, home.image / "synapse", debian_root, NEWEST.folder)
    _compiled(work, home.image / "scanner", debian_root, SCANNER)
    _compiled(work, home.image / "barman", debian_root, BARMAN)
    for command in (debian_root / BARMAN / "commands").iterdir():
        link = debian_root / "usr/local/bin" / command.name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/{BARMAN}/commands/{command.name}")
    _compiled(work, home.image / "older-synapse", debian_root, OLDER.folder)
    shutil.rmtree(older, ignore_errors=True)
    (older / OLDER.folder).parent.mkdir(parents=True)
    (debian_root / OLDER.folder).rename(older / OLDER.folder)


def _download(work: Work, release: Release, name: str) -> None:
    root, part = work.home.image / name, work.home.image / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    python.download_for_image(work, release.locked, part / release.folder)
    shutil.rmtree(root, ignore_errors=True)
    part.rename(root)


def _compiled(work: Work, downloaded: Path, debian_root: Path, folder: str) -> None:
    """Where the image has it, by the image's own Python."""
    inside = debian_root / folder
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(downloaded / folder, inside, symlinks=True, copy_function=_link)
    _compile(work, debian_root, f"/{folder}")


def _borrow(root: Path, sources: list[str]) -> None:
    """The machine's way to its mirror: name resolution, proxies, certificates; nothing starts a service."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copytree("/etc/apt/apt.conf.d", root / "etc/apt/apt.conf.d", dirs_exist_ok=True)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copy(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    if sources:
        (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    refuse = root / "usr/sbin/policy-rc.d"
    refuse.write_text("#!/bin/sh\nexit 101\n")
    refuse.chmod(0o755)
    left_out = "".join(f"path-exclude=/{path}/*\n" for path in _UNUSED[:3])
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text(f"{left_out}force-unsafe-io\n")
    folder = root / "etc/postgresql-common"
    folder.mkdir(exist_ok=True)
    (folder / "createcluster.conf").write_text("create_main_cluster = false\n")


def _compile(work: Work, root: Path, *folders: str) -> None:
    # Some packages ship files for other versions of Python, which do not compile: no reason to stop.
    script = 'python3 -m compileall -q -j 2 "$@" > /dev/null 2>&1 || true'
    work.run("chroot", root, "sh", "-c", script, "sh", *folders)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
