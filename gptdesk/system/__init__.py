"""Operating system: environment, terminal, single desk per home, browser, shortcut, CPU load."""
