package config

import "strings"

// nearest is the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	best, dist := "", 1+max(1, len(word)/3)
	if len(word) > 64 {
		return ""
	}
	for _, k := range known {
		if strings.EqualFold(k, word) || squeeze(k) == squeeze(word) {
			return k
		}
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	return best
}

// squeeze drops what people add or leave out between words.
func squeeze(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
}

// distance counts the letters to add, drop, change or swap with a neighbour.
func distance(a, b string) int {
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev = prev, cur
	}
	return prev[len(b)]
}

// didYouMean is a hint for a word that is not known.
func didYouMean(word string, known []string) string {
	if k := nearest(word, known); k != "" {
		return "did you mean \"" + k + "\"?"
	}
	return "known here: " + strings.Join(known, ", ")
}
