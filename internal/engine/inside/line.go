package inside

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// MaxLine is the longest kept line in bytes; a longer one is cut into several.
// With its mark it is one entry of a container's log, which ends at 16 KiB.
const MaxLine = 16<<10 - 64

// AppendLine appends the stored form of a line: microseconds, 1 or 2 for the
// stream, the text.
func AppendLine(b []byte, at time.Time, stderr bool, text []byte) []byte {
	b = strconv.AppendInt(b, at.UnixMicro(), 10)
	if stderr {
		b = append(b, " 2 "...)
	} else {
		b = append(b, " 1 "...)
	}
	b = append(b, text...)
	return append(b, '\n')
}

// ParseLine reads a stored line without its end.
func ParseLine(b []byte) (at time.Time, stderr bool, text string, ok bool) {
	stamp, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok || len(rest) < 2 || rest[1] != ' ' {
		return time.Time{}, false, "", false
	}
	us, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil {
		return time.Time{}, false, "", false
	}
	return time.UnixMicro(us).UTC(), rest[0] == '2', strings.ToValidUTF8(string(rest[2:]), "\uFFFD"), true
}
