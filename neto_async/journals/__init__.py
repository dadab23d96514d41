"""What an import remembers: protocol, file, and the thread that writes. May import: sending, wire, outcomes, errors."""
