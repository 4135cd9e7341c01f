"""Options of Apache Beam's in-process runner, which runs everything that does not go to Dataflow."""


def in_process_args(workers: int = 1) -> tuple[str, ...]:
    """Names the runner and its workers.

    Args:
        workers: One worker is a thread of this process. More are processes, each of which imports TensorFlow again.
    """
    return (
        # Without a name, Beam first downloads the binary of another runner, Prism, and runs that if it gets it.
        "--runner=FnApiRunner",
        f"--direct_running_mode={'in_memory' if workers == 1 else 'multi_processing'}",
        f"--direct_num_workers={workers}",
        # No container is started here. Unless an image is named, TFX packs its own sources for remote workers: 52 MB
        # per component that stay in the directory for temporary files.
        "--sdk_container_image=none",
    )
