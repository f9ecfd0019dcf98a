"""Teachers, students, their training as one batch, and how faithful the students are."""
