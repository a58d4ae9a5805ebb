use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn wanted(desired: u32, minimum_healthy_percent: u32, maximum_percent: u32) -> Wanted {
    Wanted {
        desired,
        limits: DeploymentLimits { minimum_healthy_percent, maximum_percent },
        draining: false,
        frozen: false,
    }
}

/// A service in which time passes: what is planned is done, and pending tasks become healthy.
struct Simulation {
    rng: StdRng,
    members: Vec<Member>,
    started: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), members: Vec::new(), started: 0 }
    }

    fn add(&mut self, current: bool, state: MemberState) {
        self.started += 1;
        let (id, proved) = (TaskId::random(&mut self.rng), self.rng.random_bool(0.5));
        self.members.push(Member { id, current, state, proved, age: self.started, protected: false });
    }

    fn random_members(&mut self) {
        let states = [MemberState::Leaving, MemberState::Sick, MemberState::Pending, MemberState::Healthy];
        for _ in 0..self.rng.random_range(0..30) {
            let (current, state) = (self.rng.random_bool(0.5), states[self.rng.random_range(0..4)]);
            self.add(current, state);
        }
    }

    fn count(&self, state: MemberState) -> usize {
        self.members.iter().filter(|member| member.state == state).count()
    }

    fn live(&self) -> usize {
        self.members.len() - self.count(MemberState::Leaving)
    }

    /// Does what is planned, and checks that it may be done.
    fn step(&mut self, wanted: Wanted) -> Plan {
        let plan = plan(wanted, &self.members, None);
        let (live, healthy) = (self.live(), self.count(MemberState::Healthy));
        for id in plan.retire.iter().chain(&plan.replace_sick) {
            let member = self.members.iter_mut().find(|member| member.id == *id).expect("a member");
            assert_ne!(member.state, MemberState::Leaving, "stopped twice: {plan:?}");
            member.state = MemberState::Leaving;
        }
        for _ in 0..plan.start {
            self.add(true, MemberState::Pending);
        }
        let maximum = count(wanted.limits.maximum(wanted.desired).max(wanted.desired));
        let minimum = count(wanted.limits.minimum(wanted.desired));
        assert!(
            plan.start == 0 || live + count(plan.start) <= maximum,
            "{live} live, at most {maximum}: {plan:?}"
        );
        let left = self.count(MemberState::Healthy);
        assert!(
            left >= minimum.min(healthy),
            "{left} of {healthy} healthy left, at least {minimum}: {plan:?}"
        );
        plan
    }

    fn pass_time(&mut self, healthy: f64) {
        self.members.retain(|member| member.state != MemberState::Leaving);
        for member in &mut self.members {
            if member.state == MemberState::Pending {
                let lucky = self.rng.random_bool(healthy);
                member.state = if lucky { MemberState::Healthy } else { MemberState::Sick };
            }
        }
    }
}

#[test]
fn from_any_state_it_reaches_what_is_wanted_and_never_breaks_a_limit() {
    for seed in 0..3000 {
        let mut simulation = Simulation::new(seed);
        simulation.random_members();
        let desired = simulation.rng.random_range(0..15);
        let minimum = simulation.rng.random_range(0..=100);
        let maximum = simulation.rng.random_range(100..=250);
        let wanted = wanted(desired, minimum, maximum);
        let blocked = wanted.limits.minimum(desired) == desired && wanted.limits.maximum(desired) == desired;
        let luck = simulation.rng.random_range(0.3..=1.0);
        let mut steady = false;
        for _ in 0..300 {
            steady = simulation.step(wanted).steady;
            if steady {
                break;
            }
            simulation.pass_time(luck);
        }
        assert!(steady || blocked, "seed {seed}: {wanted:?} ended with {:?}", simulation.members);
    }
}

#[test]
fn what_is_steady_stays_as_it_is() {
    let mut simulation = Simulation::new(1);
    (0..4).for_each(|_| simulation.add(true, MemberState::Healthy));
    assert_eq!(simulation.step(wanted(4, 100, 200)), Plan { steady: true, ..Plan::default() });
}

#[test]
fn scaling_in_stops_what_does_no_work_first_and_then_the_newest() {
    let mut simulation = Simulation::new(1);
    (0..3).for_each(|_| simulation.add(true, MemberState::Healthy));
    simulation.add(true, MemberState::Pending);
    let (pending, newest) = (simulation.members[3].id.clone(), simulation.members[2].id.clone());
    assert_eq!(simulation.step(wanted(2, 100, 200)).retire, [pending, newest]);
}

#[test]
fn a_sick_task_stays_until_another_has_taken_its_place() {
    let mut simulation = Simulation::new(1);
    simulation.add(true, MemberState::Healthy);
    simulation.add(true, MemberState::Sick);
    let sick = simulation.members[1].id.clone();
    let plan = simulation.step(wanted(2, 100, 200));
    assert_eq!((plan.start, plan.replace_sick), (1, Vec::new()));
    simulation.pass_time(1.0);
    assert_eq!(simulation.step(wanted(2, 100, 200)).replace_sick, [sick]);
}

#[test]
fn where_there_is_no_room_for_a_stand_in_a_sick_task_goes_first_and_one_at_a_time() {
    let mut simulation = Simulation::new(1);
    (0..3).for_each(|_| simulation.add(true, MemberState::Sick));
    let plan = simulation.step(wanted(3, 50, 100));
    assert_eq!((plan.start, plan.replace_sick.len()), (0, 1));
    let plan = simulation.step(wanted(3, 50, 100));
    assert_eq!((plan.start, plan.replace_sick.len()), (1, 0));
}

#[test]
fn limits_that_leave_no_move_are_told() {
    let mut simulation = Simulation::new(1);
    simulation.add(false, MemberState::Healthy);
    assert!(simulation.step(wanted(1, 50, 100)).blocked);
}

#[tokio::test(start_paused = true)]
async fn starts_wait_for_the_throttle() {
    let later = Instant::now() + std::time::Duration::from_secs(9);
    let plan = plan(wanted(2, 100, 200), &[], Some(later));
    assert_eq!((plan.start, plan.look_again), (0, Some(later)));
}

#[test]
fn a_protected_task_is_never_chosen_while_it_is_well() {
    for seed in 0..500 {
        let mut simulation = Simulation::new(seed);
        simulation.random_members();
        for member in &mut simulation.members {
            member.protected = simulation.rng.random_bool(0.3);
        }
        let wanted = wanted(simulation.rng.random_range(0..20), 50, 150);
        let is_protected = |simulation: &Simulation, id: &TaskId| {
            let member = simulation.members.iter().find(|member| member.id == *id);
            member.is_some_and(|member| member.protected && member.state > MemberState::Sick)
        };
        for _ in 0..50 {
            let before =
                Simulation { members: simulation.members.clone(), rng: simulation.rng.clone(), started: 0 };
            let plan = simulation.step(wanted);
            let wrong = plan.retire.iter().chain(&plan.replace_sick).find(|id| is_protected(&before, id));
            assert_eq!(wrong, None, "seed {seed}: {plan:?}");
            simulation.pass_time(1.0);
        }
    }
}

#[test]
fn others_go_in_the_place_of_protected_tasks() {
    let mut simulation = Simulation::new(1);
    for _ in 0..4 {
        simulation.add(true, MemberState::Healthy);
    }
    // The newest two are protected: the oldest two go, though the newest would go first.
    for member in &mut simulation.members[2..] {
        member.protected = true;
    }
    let oldest: Vec<TaskId> = simulation.members[..2].iter().rev().map(|member| member.id.clone()).collect();
    assert_eq!(plan(wanted(2, 100, 200), &simulation.members, None).retire, oldest);
    let plan = plan(wanted(1, 100, 200), &simulation.members, None);
    assert_eq!((plan.retire, plan.steady), (oldest, false), "both of the protected stay");
}
