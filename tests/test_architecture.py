"""The shape of the code: layers, the one place for system calls, what may print, sizes, documents."""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from pathlib import Path

import pytest
from support.processes import run_python

import sessiondir

SOURCE = Path(sessiondir.__file__).parent
MODULES = sorted(path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py"))
BELOW_CLI = [name for name in MODULES if not name.startswith("cli/") and name != "__main__"]

# From the bottom to the top. A module imports only what stands before it; modules that are
# planned and not there yet have their place already.
ORDER = [
    # the only system calls; time; every exception
    "fs", "clock", "errors", "procfs", "mutex", "steps", "together", "compiled",
    # pure: bytes to values, keys to names
    "pieces", "lazyentry", "codec", "jsjson", "jsnumbers", "terms", "aside", "operations", "model", "document",
    "readback", "entrysum", "changes", "layout",
    "json5", "members",
    # directories and durable writes
    "durable", "directory", "quarantine",
    # one on-disk thing each
    "state", "listfile", "commitline", "journal", "entries", "listkeeping", "lockfile", "turns", "locks", "trash",
    # finding, reading, writing, levelling
    "opening", "cache", "follower", "view", "sync", "commit", "checkpoint", "pacing", "writing", "core",
    "registry",
    # reading many, following, checking
    "snapshot", "listing", "watch", "check", "deciding", "leases", "inbox",
    # the legacy store
    "signature", "legacyparse", "legacy", "recognition", "legacyentries", "legacylock", "place", "formerly",
    "staging", "merging", "spelling", "takeover", "unmigrated", "handback",
    # the face
    "transaction", "firstchange", "info", "handle", "reading", "leasing", "messaging", "store",
    # what people use
    "sessions/values", "sessions/channels", "sessions/ids", "sessions/route", "sessions/entry",
    "sessions/normalise", "sessions/merge", "sessions/group", "sessions/inbound", "sessions/keys",
    "sessions/keybuild", "sessions/canonical", "sessions/numbers", "sessions/acp", "sessions/lookup",
    "sessions/changes", "sessions/hot", "sessions/whole", "sessions/state",
    "sessions/summary", "sessions/recipients", "sessions/combined", "sessions/depth", "sessions/__init__",
    "sessions", "configfile", "installation", "targets",
    "transcripts/names", "transcripts/records", "transcripts/lines", "transcripts/zstd", "transcripts/handle",
    "transcripts/following", "transcripts/reader", "transcripts/appending", "transcripts/archives",
    "transcripts/transcript",
    "transcripts/folder", "transcripts/messages", "transcripts/summary", "transcripts/__init__",
    "maintenance/units", "maintenance/policy", "maintenance/config", "maintenance/plan", "maintenance/ground",
    "maintenance/index", "maintenance/rules", "maintenance/disk", "maintenance/planning", "maintenance/applying",
    "maintenance/running", "maintenance/restoring", "maintenance/telling", "maintenance/warning",
    "maintenance/keeper", "maintenance/__init__",
    "inspection", "rollback", "migration",
    # the asynchronous face
    "aio/workers", "aio/freeing", "aio/keys", "aio/syncing", "aio/commit", "aio/transaction", "aio/watch",
    "aio/handle", "aio/reading", "aio/leasing", "aio/messaging", "aio/store", "aio/__init__",
    # file systems for tests
    "testing/trees", "testing/watching", "testing/failing", "testing/stopping", "testing/disk", "testing/power",
    "testing/__init__",
]  # fmt: skip
FILE_CALLS = {
    "open", "read", "write", "pread", "pwrite", "readv", "writev", "close", "dup", "dup2", "fstat", "stat",
    "lstat", "listdir", "scandir", "walk", "mkdir", "makedirs", "rmdir", "removedirs", "remove", "unlink",
    "rename", "renames", "replace", "link", "symlink", "readlink", "chmod", "fchmod", "chown", "fchown",
    "lchown", "truncate", "ftruncate", "fsync", "fdatasync", "sync", "utime", "access", "mkfifo", "lockf",
    "sendfile", "copy_file_range", "pipe", "statvfs", "path.exists", "path.lexists", "path.isfile",
    "path.isdir", "path.islink", "path.ismount", "path.getsize", "path.getmtime", "path.getctime",
    "path.realpath", "path.samefile",
}  # fmt: skip
FILE_MODULES = {
    "shutil", "pathlib", "tempfile", "fcntl", "io", "glob", "mmap", "fileinput", "subprocess", "socket",
}  # fmt: skip
MAY_CALL_FILES = {
    "fs": "the seam itself",
    "procfs": "asks the kernel about processes and mounts, never about the store",
    "testing/trees": "copies whole directories before and after a test, when no store is open",
}
MAY_WRITE = {
    "pwrite": {
        "durable": "what a durable write is",
        "journal": "appending a commit",
        "sync": "the record of what is synced",
    },
    "ftruncate": {
        "journal": "cutting a torn tail, and giving up room that could not be reserved",
        "transcripts/appending": "cutting off what could not be appended whole, and taking a record back",
    },
    "rename": {
        "durable": "replacing a file",
        "entries": "several session files with one sync",
        "quarantine": "setting aside",
        "trash": "several removed sessions with one sync",
        "place": "putting a store in place of a legacy file",
        "staging": "putting a store in place of a legacy file",
        "handback": "putting a legacy file in place of a store",
        "legacylock": "the lock that the legacy program understands",
        "transcripts/archives": "setting a transcript aside and bringing it back",
    },
    "link": {
        "legacylock": "the lock that the legacy program understands",
        "handback": "backups",
        "place": "backups",
    },
}
WRITING_CALLS = {
    "pwrite", "ftruncate", "rename", "link", "unlink", "mkdir", "rmdir", "fchmod", "fchown", "flock", "fcntl",
}  # fmt: skip
WRITES_NOTHING = {
    "view", "pacing", "snapshot", "listing", "watch", "check", "deciding", "legacy", "inspection", "targets",
    "installation", "configfile", "recognition",
    "transaction", "changes", "firstchange", "info", "store", "codec", "layout",
    "transcripts/names", "transcripts/records", "transcripts/lines", "transcripts/following", "transcripts/reader",
    "transcripts/messages", "transcripts/summary",
    "maintenance/plan", "maintenance/policy", "maintenance/rules", "maintenance/index", "maintenance/disk",
    "maintenance/planning",
}  # fmt: skip


@cache
def tree(module: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("sessiondir")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sessiondir":
            below = (node.module or "").partition(".")[2]
            if below:
                found.add(below.replace(".", "/"))
            else:
                found |= {alias.name for alias in node.names}
    return found


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for such an expression, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def attributes(module: str) -> set[str]:
    """Every dotted name in a module."""
    return {dotted(node) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}


def called(module: str) -> set[str]:
    """Every plain name that a module calls."""
    nodes = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    return {node.func.id for node in nodes if isinstance(node.func, ast.Name)}


@pytest.mark.parametrize("module", [name for name in BELOW_CLI if name != "__init__"])
def test_imports_go_down_only(module: str) -> None:
    """A module imports only modules of layers below its own, and has its place in the order."""
    assert module in ORDER, f"give {module} its place in the order of layers"
    below = ORDER[: ORDER.index(module)]
    wrong = {name for name in imports(module) if name not in below}
    assert wrong == set()


def test_the_order_names_each_module_once() -> None:
    """The order of layers is a total order."""
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", BELOW_CLI)
def test_nothing_below_the_command_prints_exits_or_reads_the_environment(module: str) -> None:
    """Printing, exiting and the environment belong to the command alone."""
    assert called(module) & {"print", "input", "exit", "quit", "breakpoint", "eval", "exec"} == set()
    names = {
        "os.environ",
        "os.environb",
        "os.getenv",
        "sys.exit",
        "os._exit",
        "os.abort",
        "sys.stdout",
        "sys.stderr",
        "sys.argv",
    }
    assert attributes(module) & names == set()
    assert not {name for name in imports(module) if name.split("/")[0] == "cli"}


@pytest.mark.parametrize("module", BELOW_CLI)
def test_only_the_seam_calls_the_system_about_files(module: str) -> None:
    """File calls go through the file system that tests can replace; exceptions are named with a reason."""
    calls = {name for name in attributes(module) if name.startswith("os.") and name[3:] in FILE_CALLS}
    calls |= called(module) & {"open"}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            calls |= {alias.name for alias in node.names} & FILE_MODULES
        elif isinstance(node, ast.ImportFrom):
            calls |= {node.module or ""} & FILE_MODULES
    if module in MAY_CALL_FILES:
        assert calls, f"{module} no longer needs its exception"
    else:
        assert calls == set()


@pytest.mark.parametrize("call", MAY_WRITE)
def test_only_named_modules_write(call: str) -> None:
    """Bytes and names on disk are changed by the modules whose work that is, each for a reason."""
    users = {
        module
        for module in BELOW_CLI
        if module != "fs" and any(name.endswith(f".{call}") for name in attributes(module))
    }
    assert users <= MAY_WRITE[call].keys()


@pytest.mark.parametrize("module", sorted(WRITES_NOTHING))
def test_readers_have_no_call_that_writes(module: str) -> None:
    """Modules that read do not even mention a call that changes something."""
    ends = {
        name.rpartition(".")[2]
        for name in attributes(module)
        if name.rpartition(".")[0].split(".")[-1] in ("fs", "_fs")
    }
    assert ends & WRITING_CALLS == set()


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module: str) -> None:
    """No file of the package is above 500 lines."""
    count = len((SOURCE / f"{module}.py").read_text(encoding="utf-8").splitlines())
    assert count <= 500


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_public_name_in_it_is_documented(module: str) -> None:
    """Every module says what it is for, and every public function, class and method what it does."""
    missing = []
    for node in [tree(module), *ast.walk(tree(module))]:
        if isinstance(node, ast.Module):
            if not ast.get_docstring(node):
                missing.append("the module")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            own = {
                id(child)
                for child in ast.walk(tree(module))
                if isinstance(child, ast.ClassDef) and child.name.startswith("_")
            }
            private = node.name.startswith("_") or _inside(tree(module), node, own)
            if not private and not ast.get_docstring(node) and not _is_overload(node):
                missing.append(node.name)
    assert missing == []


def _inside(root: ast.Module, node: ast.AST, private_classes: set[int]) -> bool:
    """Whether a definition is inside a function or a private class."""
    for outer in ast.walk(root):
        if outer is not node and isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            hides = isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)) or id(outer) in private_classes
            if hides and any(inner is node for inner in ast.walk(outer)):
                return True
    return False


def _is_overload(node: ast.AST) -> bool:
    return any(dotted(one) == "overload" for one in getattr(node, "decorator_list", []))


@pytest.mark.parametrize("name", sorted({*sessiondir.__all__} - {"__version__"}))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """Every name that the package gives away exists, is of the package, and explains itself."""
    value = getattr(sessiondir, name)
    if name == "UNSET":
        value = type(value)
    assert inspect.getdoc(value)
    if inspect.isclass(value) and value.__module__.startswith("sessiondir"):
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and (
                inspect.isfunction(member) or isinstance(member, (property, classmethod))
            ):
                assert inspect.getdoc(member), f"{name}.{attribute}"


def test_importing_the_package_takes_nothing_of_the_command() -> None:
    """Neither the command nor what only the command needs is loaded with the store."""
    told = run_python(
        """
        import json, sys
        import sessiondir
        for name in sessiondir.__all__:
            getattr(sessiondir, name)
        print(json.dumps(sorted(sys.modules)))
        """
    )
    loaded = json.loads(told)
    assert "sessiondir.store" in loaded
    assert [name for name in loaded if name.split(".")[0] in ("click", "rich")] == []
    assert [name for name in loaded if name.startswith("sessiondir.cli")] == []


def test_using_a_store_takes_nothing_of_the_legacy_format(store_path: str) -> None:
    """Programs that start often, as sub-agents do, do not load what only a store to be migrated needs."""
    told = run_python(
        """
        import json, sys
        from sessiondir import SessionStore
        for _ in range(2):
            with SessionStore.open(sys.argv[1]) as store:
                store.update("a", lambda entry: {"n": 1}, create=True)
                store.post("a", "hello")
        print(json.dumps(sorted(sys.modules)))
        """,
        store_path,
    )
    loaded = json.loads(told)
    assert "sessiondir.messaging" in loaded
    assert [name for name in loaded if "legacy" in name or name.endswith(("json5", "takeover", "members"))] == []


@pytest.mark.timeout(600)  # ten seconds of a processor that others may be using
def test_modules_import_each_other_in_no_circle() -> None:
    """Each module comes up alone in a fresh interpreter, so there is no circle of imports."""
    paths = [f"sessiondir/{name}".removesuffix("/__init__") for name in BELOW_CLI if name != "__init__"]
    names = [path.replace("/", ".") for path in paths]
    told = run_python(
        """
        import importlib, sys
        for name in sys.argv[1:]:
            for loaded in [one for one in sys.modules if one.split(".")[0] == "sessiondir"]:
                del sys.modules[loaded]
            importlib.import_module(name)
            print(name)
        """,
        *names,
    )
    assert told.split() == names
