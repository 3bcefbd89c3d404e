package slipway_test

import (
	"fmt"
	"math"
	"testing"

	"slipway.dev/slipway"
)

// contrast of two colours by WCAG 2.2, written down again.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light := func(s string) float64 {
		var c [3]int
		if _, err := fmt.Sscanf(s, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		linear := func(v int) float64 {
			if f := float64(v) / 255; f > .04045 {
				return math.Pow((f+.055)/1.055, 2.4)
			}
			return float64(v) / 255 / 12.92
		}
		return .2126*linear(c[0]) + .7152*linear(c[1]) + .0722*linear(c[2])
	}
	x, y := light(a), light(b)
	return (max(x, y) + .05) / (min(x, y) + .05)
}

func TestShadesAreLegible(t *testing.T) {
	for r := 0; r < 256; r += 51 {
		for g := 0; g < 256; g += 51 {
			for b := 0; b < 256; b += 51 {
				accent := fmt.Sprintf("#%02x%02x%02x", r, g, b)
				light, dark := slipway.Branding{Accent: accent}.Shades()
				if c := contrast(t, light, "#ffffff"); c < 4.5 {
					t.Errorf("%s on white is %s: %.2f", accent, light, c)
				}
				if c := contrast(t, dark, "#171e27"); c < 4.5 {
					t.Errorf("%s on dark is %s: %.2f", accent, dark, c)
				}
			}
		}
	}
	if light, _ := (slipway.Branding{Accent: "#0b5c8a"}).Shades(); light != "#0b5c8a" {
		t.Errorf("a legible colour became %s", light)
	}
	for _, none := range []string{"", "red", "#12", "0b5c8a"} {
		if light, dark := (slipway.Branding{Accent: none}).Shades(); light != "" || dark != "" {
			t.Errorf("%q: %q %q", none, light, dark)
		}
	}
}
