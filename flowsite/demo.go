package flowsite

import (
	"fmt"
)

// Ids of the rows that [Site.Demo] seeds and that callers need to know.
const (
	DemoFilm   = 65 // Project "Harbour Lights": sequences 1–2, shots 1–8, assets 1–4
	DemoSeries = 66 // Project "Night Train": sequence 3, shots 9–12, assets 5–6
	DemoPage   = 900
	DemoNote   = 700
)

// Demo seeds two projects with sequences, shots, assets, tasks, versions,
// notes and people (logins ann, ben, cleo; dan is not active), all with fixed
// ids and no event. Give people passwords with [Site.AddUser].
func (s *Site) Demo() {
	s.demoPeople()
	s.demoSteps()
	s.demoProject(DemoFilm, "Harbour Lights", "harbour", 2)
	s.demoProject(DemoSeries, "Night Train", "train", 1)
	s.demoNotes()
	s.demoPages()
}

func ref(typ string, id int) map[string]any { return map[string]any{"type": typ, "id": id} }

func (s *Site) demoPeople() {
	s.Seed("PermissionRuleSet", map[string]any{"id": 5, "display_name": "Artist", "code": "artist", "entity_type": "HumanUser"})
	s.Seed("Department", map[string]any{"id": 1, "name": "Animation", "code": "anm"})
	s.AddUser(Person{Login: "ann", First: "Ann", Last: "Åström"})
	s.AddUser(Person{Login: "ben", First: "Ben", Last: "Okafor"})
	s.AddUser(Person{Login: "cleo", First: "Cleo", Last: "Ito"})
	s.AddUser(Person{Login: "dan", First: "Dan", Last: "Roe", Status: "dis"})
	s.Seed("Group", map[string]any{"id": 3, "code": "Supervisors", "users": []any{ref("HumanUser", 3)}})
	for _, tag := range words("hero", "reuse") {
		s.Seed("Tag", map[string]any{"name": tag})
	}
}

func (s *Site) demoSteps() {
	for i, name := range words("Animation", "Lighting", "Modeling") {
		entityType := "Shot"
		if name == "Modeling" {
			entityType = "Asset"
		}
		s.Seed("Step", map[string]any{"code": name, "short_name": name[:3], "entity_type": entityType, "list_order": i + 1})
	}
	s.Seed("PublishedFileType", map[string]any{"code": "Maya Scene", "short_name": "maya"})
	s.Seed("LocalStorage", map[string]any{"code": "primary", "linux_path": "/mnt/projects"})
}

func (s *Site) demoProject(id int, name, code string, sequences int) {
	s.Seed("Project", map[string]any{"id": id, "name": name, "code": code, "tank_name": code, "users": []any{ref("HumanUser", 1), ref("HumanUser", 2)}})
	assets := 2 * sequences
	kinds := words("Character", "Prop")
	first := 0
	for i := range assets {
		a := s.Seed("Asset", map[string]any{
			"code": fmt.Sprintf("%s_asset_%02d", code, i+1), "project": ref("Project", id), "sg_asset_type": kinds[i%2], "sg_status_list": "ip",
		})
		if first == 0 {
			first = a
		}
		s.demoTask(id, "Model", ref("Asset", a), 3, 2)
	}
	for i := range sequences {
		seq := s.Seed("Sequence", map[string]any{"code": fmt.Sprintf("%s_sq%02d", code, i+1), "project": ref("Project", id), "sg_status_list": "ip"})
		for j := range 4 {
			s.demoShot(id, seq, j, fmt.Sprintf("%s_sq%02d_%04d", code, i+1, 10*(j+1)), first)
		}
	}
}

func (s *Site) demoShot(project, seq, n int, code string, asset int) {
	statuses := words("wtg", "ip", "rev", "fin")
	shot := s.Seed("Shot", map[string]any{
		"code": code, "project": ref("Project", project), "sg_sequence": ref("Sequence", seq), "sg_status_list": statuses[n],
		"assets": []any{ref("Asset", asset)}, "sg_cut_in": 1001, "sg_cut_out": 1001 + 24*(n+1), "sg_cut_duration": 24*(n+1) + 1,
		"sg_cut_order": 0.5 + float64(n), "description": "Shot " + code,
	})
	task := s.demoTask(project, "Animation", ref("Shot", shot), 1, n%3+1)
	s.demoTask(project, "Lighting", ref("Shot", shot), 2, 2)
	s.Seed("Version", map[string]any{
		"code": code + "_v001", "project": ref("Project", project), "entity": ref("Shot", shot), "sg_task": ref("Task", task),
		"user": ref("HumanUser", n%3+1), "sg_status_list": "rev", "sg_first_frame": 1001, "sg_last_frame": 1001 + 24*(n+1),
		"sg_path_to_movie": "/mnt/projects/" + code + "/v001.mov", "image": fmt.Sprintf("thumbnail/version_%04d.png", shot),
		"sg_metadata": map[string]any{"colour": "ACEScg", "frames": 24},
	})
}

func (s *Site) demoTask(project int, name string, of map[string]any, step, who int) int {
	return s.Seed("Task", map[string]any{
		"content": name, "project": ref("Project", project), "entity": of, "step": ref("Step", step), "sg_status_list": "ip",
		"task_assignees": []any{ref("HumanUser", who)}, "due_date": fmt.Sprintf("2026-03-%02d", step*7), "start_date": "2026-03-02",
		"est_in_mins": 480 * step,
	})
}

func (s *Site) demoNotes() {
	film := ref("Project", DemoFilm)
	s.Seed("Attachment", map[string]any{"id": 800, "display_name": "paintover.png", "filename": "paintover.png", "project": film, "file_size": 48213})
	s.Seed("Note", map[string]any{
		"id": DemoNote, "subject": "Timing of the wave", "content": "Hold two more frames — \"wave\" reads better.", "project": film,
		"user": ref("HumanUser", 3), "note_links": []any{ref("Shot", 1), ref("Version", 1)}, "addressings_to": []any{ref("HumanUser", 1)},
		"attachments": []any{ref("Attachment", 800)}, "created_by": ref("HumanUser", 3),
	})
	s.Seed("Reply", map[string]any{"content": "Done in v002.", "entity": ref("Note", DemoNote), "user": ref("HumanUser", 1), "created_by": ref("HumanUser", 1)})
	s.Seed("Playlist", map[string]any{"code": "Dailies", "project": film, "versions": []any{ref("Version", 1), ref("Version", 2)}})
	s.Seed("PublishedFile", map[string]any{
		"code": "harbour_sq01_0010_anim.v001.ma", "name": "harbour_sq01_0010_anim", "project": film, "entity": ref("Shot", 1), "task": ref("Task", 5),
		"version": ref("Version", 1), "version_number": 1, "published_file_type": ref("PublishedFileType", 1),
		"path": map[string]any{"local_path": "/mnt/projects/harbour/sq01/0010/anim.v001.ma", "name": "anim.v001.ma"},
	})
}

func (s *Site) demoPages() {
	film := ref("Project", DemoFilm)
	s.Seed("Page", map[string]any{"id": DemoPage, "name": "Shots", "entity_type": "Shot", "project": film, "api_exportable": true})
	s.Seed("Page", map[string]any{"id": DemoPage + 1, "name": "Private", "entity_type": "Task", "project": film})
	s.Seed("Cut", map[string]any{"id": 1, "code": "Reel 1", "project": film, "revision_number": 1, "entity": ref("Sequence", 1)})
	s.Seed("Cut", map[string]any{"id": 2, "code": "Reel 1", "project": film, "revision_number": 2, "entity": ref("Sequence", 1)})
	s.Seed("CutItem", map[string]any{"code": "001", "cut": ref("Cut", 1), "shot": ref("Shot", 2), "cut_order": 1, "project": film})
}
