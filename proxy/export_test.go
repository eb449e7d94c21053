package proxy

// AnswerOf shows the table of reasons.
func AnswerOf(r Reason) (status, fault int) {
	a := r.answer()
	return a.status, a.fault
}
