//! The tables of states and events in the modules' headers, and which of their cells are reached.

use std::cell::RefCell;
use std::collections::BTreeSet;

use heapless::Vec as Fixed;

/// A table's name, a state and an event of it.
pub type Cell = (&'static str, &'static str, &'static str);

/// How many cells all tables have together, at most.
const CELLS: usize = 256;

thread_local! {
    // Not on the heap: the simulation counts what the daemon has there.
    static REACHED: RefCell<Fixed<Cell, CELLS>> = const { RefCell::new(Fixed::new()) };
}

/// In this state this event happens.
pub fn reach(table: &'static str, state: &'static str, event: &'static str) {
    REACHED.with_borrow_mut(|reached| {
        let cell = (table, state, event);
        // Beyond the bound some cell is not found where it should be, and the test that looks for it says so.
        let _ = if reached.contains(&cell) { Ok(()) } else { reached.push(cell) };
    });
}

/// The cells that this thread has reached so far.
pub fn reached() -> BTreeSet<Cell> {
    REACHED.with_borrow(|reached| reached.iter().copied().collect())
}

/// What a table says: its cells, and of each whether something may happen there, or `-` stands in it.
///
/// `source` is the file: the first block that begins with `//! ```text`. The columns begin where the words of the
/// first line do, after two blanks or more. A line that does not begin with a blank begins a row.
///
/// # Panics
/// Without such a block, or with an empty cell.
pub fn cells(source: &str) -> Vec<(String, String, bool)> {
    let lines = source.lines().skip_while(|line| *line != "//! ```text").skip(1);
    let lines = lines.take_while(|line| *line != "//! ```");
    let lines: Vec<Vec<char>> = lines.map(|line| line.chars().skip("//! ".len()).collect()).collect();
    let head = lines.first().expect("a table");
    let starts: Vec<_> = (0..head.len()).filter(|&at| begins(head, at)).collect();
    let part = |line: &[char], column: usize| {
        let end = starts.get(column + 1).copied().unwrap_or(usize::MAX).min(line.len());
        line.get(starts[column]..end).unwrap_or_default().iter().collect::<String>().trim().to_owned()
    };
    let mut all = Vec::new();
    for row in lines.iter().filter(|line| line.first().is_some_and(|c| *c != ' ')) {
        let state: String = row.iter().take_while(|c| **c != ' ').collect();
        for column in 0..starts.len() {
            let (event, text) = (part(head, column), part(row, column));
            assert!(!text.is_empty(), "nothing stands in {state} x {event}");
            all.push((state.clone(), event, text != "-"));
        }
    }
    all
}

/// Whether a word begins here that is not the next one of the same column.
fn begins(line: &[char], at: usize) -> bool {
    line[at] != ' ' && (at == 0 || at >= 2 && line[at - 1] == ' ' && line[at - 2] == ' ')
}

/// Holds what was reached against a table: one line for people.
///
/// # Errors
/// A line for each cell that was not reached, or has a `-` and was.
pub fn compare(table: &str, source: &str, reached: &BTreeSet<Cell>) -> Result<String, String> {
    let all = cells(source);
    let is_reached = |state: &str, event: &str| reached.iter().any(|cell| *cell == (table, state, event));
    let mut wrong = Vec::new();
    for (state, event, may) in &all {
        match (may, is_reached(state, event)) {
            (true, false) => wrong.push(format!("{table}: {state} x {event} is not reached")),
            (false, true) => wrong.push(format!("{table}: {state} x {event} is reached, and has a dash")),
            _ => {}
        }
    }
    let known = |cell: &&Cell| all.iter().any(|(state, event, _)| state == cell.1 && event == cell.2);
    for (_, state, event) in reached.iter().filter(|cell| cell.0 == table).filter(|cell| !known(cell)) {
        wrong.push(format!("{table}: {state} x {event} is reached, and not in the table"));
    }
    let count = all.iter().filter(|(_, _, may)| *may).count();
    if wrong.is_empty() {
        Ok(format!("{table}: {count} of {count} cells reached"))
    } else {
        Err(wrong.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! A file.\n//!\n//! ```text\n//!        come, see  conquer\n//!                   all\n\
        //! Gaul   goes       -\n//!        on\n//! Rome   -          ends\n//! ```\n";

    #[test]
    fn a_table_is_read_as_people_read_it() {
        let cell = |state: &str, event: &str, may| (state.to_owned(), event.to_owned(), may);
        assert_eq!(
            cells(SOURCE),
            [
                cell("Gaul", "come, see", true),
                cell("Gaul", "conquer", false),
                cell("Rome", "come, see", false),
                cell("Rome", "conquer", true)
            ]
        );
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_found() {
        reach("t", "Gaul", "come, see");
        reach("t", "Gaul", "come, see");
        assert_eq!(compare("t", SOURCE, &reached()).unwrap_err(), "t: Rome x conquer is not reached");
        reach("t", "Rome", "conquer");
        assert_eq!(compare("t", SOURCE, &reached()).unwrap(), "t: 2 of 2 cells reached");
        reach("t", "Rome", "come, see");
        let dash = "t: Rome x come, see is reached, and has a dash";
        assert_eq!(compare("t", SOURCE, &reached()).unwrap_err(), dash);
        reach("t", "Nero", "sings");
        let unknown = format!("{dash}\nt: Nero x sings is reached, and not in the table");
        assert_eq!(compare("t", SOURCE, &reached()).unwrap_err(), unknown);
    }
}
