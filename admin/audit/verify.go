package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"muster/tsdb/vfs"
)

// Verify checks the chain of all files of the log in dir, oldest first, and returns the number of lines. The error
// names the file and the line where the chain breaks. The oldest line's predecessor is taken as it says: older
// files are removed in time.
func Verify(files vfs.FS, dir string) (lines uint64, err error) {
	l := &Log{dir: dir, fs: files}
	names, err := l.rotated()
	if err != nil {
		return 0, fmt.Errorf("verify audit log in %q: %w", dir, err)
	}
	prev, seq := "", uint64(0)
	for _, name := range append(names, current) {
		text, err := files.ReadFile(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name == current {
			break
		}
		if err != nil {
			return lines, fmt.Errorf("verify audit log: %w", err)
		}
		for number := 1; len(text) > 0; number++ {
			line, rest, whole := bytes.Cut(text, []byte("\n"))
			text = rest
			broken := func(format string, args ...any) (uint64, error) {
				return lines, fmt.Errorf("%s line %d: %s", path.Join(dir, name), number, fmt.Sprintf(format, args...))
			}
			if !whole {
				return broken("it is cut off")
			}
			var e Entry
			if err := json.Unmarshal(line, &e); err != nil {
				return broken("it is not an audit line: %v", err)
			}
			if e.V != 1 {
				return broken("it has layout %d; this muster knows 1", e.V)
			}
			if prev == "" && e.Seq == 1 {
				prev = zeroHash
			}
			if prev != "" && e.Prev != prev {
				return broken("the line before it was changed, or lines between were removed or inserted")
			}
			if seq != 0 && e.Seq != seq+1 {
				return broken("sequence number %d follows %d", e.Seq, seq)
			}
			prev, seq = hash(line), e.Seq
			lines++
		}
	}
	return lines, nil
}
