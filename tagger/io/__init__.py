"""Files and directories: written whole or not at all, and only where nothing of somebody else is lost."""
