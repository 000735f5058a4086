"""What `unrolled inspect` can look at: a file a look, each with the tasks it is for, its options, and what it shows."""
