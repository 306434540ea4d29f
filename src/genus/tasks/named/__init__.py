"""One file a task: `TASK = ...`, declarative. A new task is a new file."""
