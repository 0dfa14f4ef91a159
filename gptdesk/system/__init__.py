"""The computer and its operating system: environment, terminal, one desk per home, browser, CPU load."""
