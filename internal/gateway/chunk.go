package gateway

type chunkState uint8

const (
	chunksMore chunkState = iota
	chunksDone
	chunksBad
)

const (
	maxChunkLine = 256     // size and extensions
	maxTrailers  = 8 << 10 // all trailer lines
)

type chunkPhase uint8

const (
	chunkSize chunkPhase = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerLine
	trailerLF
	trailerEndLF
)

// chunkScanner follows a chunked body to its end, strictly.
type chunkScanner struct {
	phase  chunkPhase
	size   int64
	digits int
	line   int // bytes of the current size line, or of all trailers
}

// next looks at b and returns how much of it belongs to the body.
func (s *chunkScanner) next(b []byte) (int, chunkState) {
	for i := 0; i < len(b); {
		if s.phase == chunkData {
			n := min(int64(len(b)-i), s.size)
			i += int(n)
			if s.size -= n; s.size == 0 {
				s.phase = chunkDataCR
			}
			continue
		}
		switch s.step(b[i]) {
		case chunksBad:
			return i, chunksBad
		case chunksDone:
			return i + 1, chunksDone
		default:
		}
		i++
	}
	return len(b), chunksMore
}

// step takes one byte of the framing.
func (s *chunkScanner) step(c byte) chunkState {
	switch s.phase {
	case chunkSize, chunkExtension:
		return s.sizeLine(c)
	case chunkSizeLF:
		if c != '\n' {
			return chunksBad
		}
		s.phase = chunkData
		if s.size == 0 {
			s.phase = trailerStart
		}
		s.line, s.digits = 0, 0
	case chunkDataCR:
		if c != '\r' {
			return chunksBad
		}
		s.phase = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return chunksBad
		}
		s.phase = chunkSize
	case trailerEndLF:
		if c != '\n' {
			return chunksBad
		}
		return chunksDone
	default:
		return s.trailer(c)
	}
	return chunksMore
}

func (s *chunkScanner) sizeLine(c byte) chunkState {
	if s.line++; s.line > maxChunkLine {
		return chunksBad
	}
	switch {
	case c == '\r':
		if s.digits == 0 {
			return chunksBad
		}
		s.phase = chunkSizeLF
	case s.phase == chunkExtension:
		if c < ' ' && c != '\t' || c == 0x7f {
			return chunksBad
		}
	case c == ';' && s.digits > 0:
		s.phase = chunkExtension
	default:
		d, ok := hexDigit(c)
		if s.digits++; !ok || s.digits > 15 {
			return chunksBad
		}
		s.size = s.size<<4 | d
	}
	return chunksMore
}

func (s *chunkScanner) trailer(c byte) chunkState {
	if s.line++; s.line > maxTrailers {
		return chunksBad
	}
	switch {
	case s.phase == trailerLF:
		if c != '\n' {
			return chunksBad
		}
		s.phase = trailerStart
	case c == '\r' && s.phase == trailerStart:
		s.phase = trailerEndLF
	case c == '\r':
		s.phase = trailerLF
	case c < ' ' && c != '\t' || c == 0x7f, s.phase == trailerStart && !tokenChar[c]:
		return chunksBad
	default:
		s.phase = trailerLine
	}
	return chunksMore
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}
