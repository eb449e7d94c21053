package parts

// Cached gives the tests of this package a cache entry of their own making.
func Cached(name string, fill func(dir string) error) (string, error) { return cached(name, fill) }
