"""What a network is trained to do: the stream of batches, the loss and the metrics of each kind of task."""
