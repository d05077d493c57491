"""What all token reducers share: grouping and merging, signals of attention, the forward pass, counts."""
