"""One candidate: built, timed, and compared with what it should compute."""
