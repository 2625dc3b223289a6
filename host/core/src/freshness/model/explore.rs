//! Breadth first through all worlds, with a way back to tell how one came to each.

use super::*;

/// What was seen.
pub(super) struct Explored {
    pub(super) worlds: usize,
    pub(super) violations: HashMap<&'static str, String>,
    pub(super) stuck: usize,
    pub(super) stuck_example: String,
}

/// Explores until everything was seen, or each law in `until` was seen broken.
pub(super) fn explore(broken: Option<Mutant>, bad: Option<Image>, until: &[&str]) -> Explored {
    mutant::set(broken);
    let start = Rc::new(World::new(1, 2));
    let mut index: HashMap<Rc<World>, usize> = HashMap::new();
    let mut worlds: Vec<(Rc<World>, usize, String)> = vec![(Rc::clone(&start), 0, String::new())];
    let mut back: Vec<Vec<usize>> = vec![Vec::new()];
    index.insert(start, 0);
    let mut queue = VecDeque::from([0]);
    let mut violations = HashMap::new();
    let trace = |worlds: &Vec<(Rc<World>, usize, String)>, mut at: usize| {
        let mut events = Vec::new();
        while at != 0 {
            let (_, from, event) = &worlds[at];
            events.push(event.clone());
            at = *from;
        }
        events.reverse();
        events.join(" ")
    };
    while let Some(at) = queue.pop_front() {
        let world = Rc::clone(&worlds[at].0);
        if let Some(violation) = world.violation() {
            violations.entry(violation).or_insert_with(|| trace(&worlds, at));
            if !until.is_empty() && until.iter().all(|law| violations.keys().any(|found| found.starts_with(law))) {
                break;
            }
            continue;
        }
        for (event, next) in world.next(bad) {
            let next = Rc::new(next);
            let to = *index.entry(Rc::clone(&next)).or_insert_with(|| {
                worlds.push((next, at, event));
                back.push(Vec::new());
                queue.push_back(worlds.len() - 1);
                worlds.len() - 1
            });
            back[to].push(at);
        }
        assert!(worlds.len() < 3_000_000, "the space is larger than meant");
    }
    mutant::set(None);
    let quiet = (0..worlds.len()).filter(|at| worlds[*at].0.is_quiet(bad) && worlds[*at].0.violation().is_none());
    let mut reaches = vec![false; worlds.len()];
    let mut queue: VecDeque<usize> = quiet.collect();
    queue.iter().for_each(|at| reaches[*at] = true);
    while let Some(at) = queue.pop_front() {
        for from in &back[at] {
            if !std::mem::replace(&mut reaches[*from], true) {
                queue.push_back(*from);
            }
        }
    }
    let stuck: Vec<usize> =
        (0..worlds.len()).filter(|at| !reaches[*at] && worlds[*at].0.violation().is_none()).collect();
    let stuck_example = stuck.first().map(|at| trace(&worlds, *at)).unwrap_or_default();
    Explored { worlds: worlds.len(), violations, stuck: stuck.len(), stuck_example }
}
