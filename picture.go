package slipway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	_ "image/jpeg" // formats that pictures may have
	_ "image/png"

	_ "golang.org/x/image/webp"

	"slipway.dev/slipway/internal/base/errs"
)

const maxPictureSide = 4096

// ParsePicture checks an uploaded picture by its content, whatever it is said
// to be: PNG, JPEG or WebP that browsers show and do not run. It returns the
// media type and the content's version.
func ParsePicture(data []byte, most int) (mediaType, version string, err error) {
	bad := errs.Invalid("a picture must be PNG, JPEG or WebP")
	switch {
	case len(data) == 0:
		return "", "", bad
	case len(data) > most:
		return "", "", errs.Invalid("the picture is larger than %d KiB", most>>10)
	}
	size, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return "", "", bad
	}
	if size.Width < 1 || size.Height < 1 || size.Width > maxPictureSide || size.Height > maxPictureSide {
		return "", "", errs.Invalid("the picture has %d × %d pixels: at most %d each way", size.Width, size.Height, maxPictureSide)
	}
	if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
		return "", "", errs.Invalid("the picture is damaged")
	}
	sum := sha256.Sum256(data)
	return "image/" + format, hex.EncodeToString(sum[:8]), nil
}
