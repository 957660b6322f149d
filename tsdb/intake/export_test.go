package intake

// Hold takes a worker until release is called.
func (in *Intake) Hold() (release func()) {
	w := <-in.idle
	return func() { in.idle <- w }
}

// Waiting returns how many requests wait for a worker.
func (in *Intake) Waiting() int { return int(in.waiting.Load()) }
