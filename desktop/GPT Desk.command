#!/bin/sh
# Double-click to start GPT Desk on macOS (Linux: `python3 launch.py shortcut`). The window stays open after an error.
launch="$(cd "$(dirname "$0")/.." && pwd)/launch.py"
if [ -z "$PYTHON" ]; then
    for PYTHON in python3 /opt/homebrew/bin/python3 /usr/local/bin/python3 python; do
        command -v "$PYTHON" >/dev/null 2>&1 && break
    done
fi
"$PYTHON" "$launch" "$@"
code=$?
[ "$code" -eq 127 ] && echo "GPT Desk needs Python 3.11 or newer: https://www.python.org/downloads/" >&2
if [ "$code" -ne 0 ] && [ "$code" -ne 130 ]; then
    printf '\nGPT Desk ended with error %s. Press Enter to close this window. ' "$code"
    read -r _
fi
exit "$code"
