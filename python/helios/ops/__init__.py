"""What operating a run takes beside the run itself: `helios doctor`."""
