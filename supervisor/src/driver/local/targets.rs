//! Target groups, their listeners, and tasks as targets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_balancer::{
    Action, Balancer, BalancerError, Body, BoxError, CustomHealth, Forward, HoldPolicy, Listener,
    ListenerConfig, RegisterOptions, Target, TargetDescription, TargetError, TargetGroupAttributes,
    TargetGroupConfig, TargetId, TargetMeter, TargetState, TcpTarget, TcpTargetConfig,
};
use coracle_runtime::{Container, HandleError};
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::in_words;
use super::other_ports::OtherPorts;
use crate::driver::{PublishError, Routing, TargetGroup, TargetGroupSettings};
use crate::model::names::TaskId;
use crate::model::publication::Publication;
use crate::model::task::{HealthStatus, TargetHealth};

/// Longest wait of a request for the first task: what loads its image for the first time may have to compile it.
const FIRST_TASK_WITHIN: Duration = Duration::from_secs(30);
/// Looking at a group's targets may take a fifth of a thread.
const PAUSE_PER_LOOK: u32 = 4;
/// The timer's own resolution: shorter pauses are not worth their delay.
const WORTH_A_PAUSE: Duration = Duration::from_millis(1);

/// The published services of this process.
#[derive(Debug)]
pub(super) struct Targets {
    balancer: Balancer,
    groups: Mutex<HashMap<String, Arc<Group>>>,
}

/// One target group.
pub(super) struct Group {
    balanced: Arc<coracle_balancer::TargetGroup>,
    listeners: Mutex<Option<Listeners>>,
    kept: Mutex<Kept>,
    /// Where the requests go of a service that was published with this group.
    routing: super::directory::Routing,
    /// The groups behind that, as they were said last.
    production: Mutex<Vec<(TargetGroup, u32)>>,
    others: Arc<OtherPorts>,
    registered: Arc<Registered>,
    /// Carries the balancer's findings to those who registered.
    teller: AbortHandle,
}

/// The tasks of a group, by their ids.
type Registered = Mutex<HashMap<TargetId, Told>>;

/// What is told about a task, and by it.
struct Told {
    health: watch::Sender<TargetHealth>,
    /// By its containers' own checks.
    vouched: CustomHealth,
}

/// What is kept of a group that people made.
#[derive(Default)]
struct Kept {
    settings: Option<TargetGroupSettings>,
    /// Whether requests wait for the first task of a service that scales to zero, whatever the group's attributes say.
    holds: bool,
}

/// A published service's.
struct Listeners {
    production: Listener,
    test: Option<Listener>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.balanced.name()).finish_non_exhaustive()
    }
}

impl Targets {
    pub(super) fn new(balancer: Balancer) -> Self {
        Self { balancer, groups: Mutex::default() }
    }

    pub(super) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The group, which begins to exist if it does not.
    pub(super) fn group(&self, group: &TargetGroup) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(group.arn.clone()).or_insert_with(|| Arc::new(Group::new(group))))
    }

    pub(super) fn publish(&self, group: &TargetGroup) -> Result<Option<SocketAddr>, PublishError> {
        let known = self.group(group);
        if group.publication.attachment.is_some() {
            known.hold_requests(group.publication.scale_to_zero.is_some());
        }
        let Some(listen_at) = group.publication.listen else { return Ok(None) };
        let mut listeners = known.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listeners) = &*listeners {
            return Ok(Some(listeners.production.local_addr()));
        }
        let listen = |name: String, address: SocketAddr| {
            let config = ListenerConfig::new(name, address);
            self.balancer
                .listen(config, Arc::clone(&known.balanced))
                .map_err(|error| refused(address, &error))
        };
        let production = listen(group.name.clone(), listen_at)?;
        let test = group.publication.test_listen;
        let test = test.map(|address| listen(format!("{}-test", group.name), address)).transpose()?;
        let bound_to = production.local_addr();
        *listeners = Some(Listeners { production, test });
        Ok(Some(bound_to))
    }

    /// Where a published service's requests go, now and later.
    pub(super) fn routing(&self, published: &TargetGroup) -> super::directory::Routing {
        Arc::clone(&self.group(published).routing)
    }

    /// The same for one of its other ports. In the same proportions, also where they change later.
    pub(super) fn routing_at(&self, published: &TargetGroup, port: u16) -> super::directory::Routing {
        let known = self.group(published);
        // Held to the end: what is said of the proportions meanwhile is not missed.
        let production = known.production();
        let forward = || self.forward_at(&production, published, port);
        known.others.routing(port).unwrap_or_else(|| known.others.route(port, forward()))
    }

    fn forward_at(&self, production: &[(TargetGroup, u32)], published: &TargetGroup, port: u16) -> Forward {
        let at_port = |group: &TargetGroup| self.group(group).others.group(port);
        let shares = production.iter().map(|(group, share)| (at_port(group), *share));
        split(shares).unwrap_or_else(|| at_port(published).into())
    }

    pub(super) fn route(&self, published: &TargetGroup, routing: &Routing) {
        let known = self.group(published);
        let mut production = known.production();
        production.clone_from(&routing.production);
        for port in known.others.routed() {
            known.others.route(port, self.forward_at(&production, published, port));
        }
        drop(production);
        let balanced = |group| Arc::clone(&self.group(group).balanced);
        let forward = || split(routing.production.iter().map(|(group, share)| (balanced(group), *share)));
        if let Some(forward) = forward() {
            known.routing.store(Arc::new(forward));
        }
        let listeners = known.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listeners) = &*listeners else { return };
        if let Some(forward) = forward() {
            listeners.production.set_routes(Action::Forward(forward));
        }
        if let Some(listener) = &listeners.test {
            listener.set_routes(balanced(&routing.test));
        }
    }

    pub(super) async fn unpublish(&self, arns: &[String; 2], deadline: Duration) {
        let groups = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            arns.each_ref().map(|arn| groups.remove(arn))
        };
        for group in groups.into_iter().flatten() {
            let listeners = group.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(Listeners { production, test }) = listeners else { continue };
            let closing = [Some(production), test].into_iter().flatten();
            let closing: Vec<Listener> = closing.collect();
            futures_util::future::join_all(closing.iter().map(|listener| listener.close(deadline))).await;
        }
    }

    /// A service leaves a group that stays.
    pub(super) fn detach(&self, published: &TargetGroup) {
        self.group(published).hold_requests(false);
    }

    /// Has a target group be as it is kept.
    pub(super) fn keep(&self, settings: &TargetGroupSettings) {
        let publication =
            Publication::of_kept(&settings.health_check, settings.attributes.deregistration_delay);
        let (arn, name) = (settings.arn.clone(), settings.name.clone());
        self.group(&TargetGroup { arn, name, publication }).keep(settings);
    }

    pub(super) fn forget(&self, arn: &str) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(arn);
    }

    /// The targets of a group, if there is one.
    pub(super) fn balanced(&self, arn: &str) -> Option<Arc<coracle_balancer::TargetGroup>> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(arn).map(|group| Arc::clone(&group.balanced))
    }

    pub(super) fn describe(&self, arn: &str) -> Vec<TargetDescription> {
        self.balanced(arn).map(|group| group.targets()).unwrap_or_default()
    }
}

impl Group {
    fn new(group: &TargetGroup) -> Self {
        let balanced = coracle_balancer::TargetGroup::new(TargetGroupConfig {
            name: group.name.clone(),
            arn: Some(group.arn.clone()),
            health_check: group.publication.health_check.clone(),
            attributes: TargetGroupAttributes {
                hold: hold(group.publication.scale_to_zero.is_some()),
                ..group.publication.attributes()
            },
        });
        let (registered, others) = (Arc::default(), Arc::new(OtherPorts::new(group.clone())));
        // From here on, and not from when the task below has its first turn: the first targets may be healthy by then.
        let changes = balanced.changes();
        let telling = tell(changes, Arc::clone(&balanced), Arc::clone(&registered), Arc::clone(&others));
        let teller = tokio::spawn(telling).abort_handle();
        let routing = Arc::new(ArcSwap::from_pointee(Forward::from(Arc::clone(&balanced))));
        let (listeners, production, kept) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { balanced, listeners, kept, routing, production, others, registered, teller }
    }

    /// What is the same as before is left alone: a health check that is set anew asks every target at once.
    fn keep(&self, settings: &TargetGroupSettings) {
        let mut kept = self.kept();
        if self.balanced.health_check() != settings.health_check {
            self.balanced.set_health_check(settings.health_check.clone());
        }
        let before = kept.settings.replace(settings.clone()).map(|before| before.targets).unwrap_or_default();
        self.apply_attributes(&kept);
        for address in settings.targets.difference(&before) {
            let target = Arc::new(TcpTarget::new(*address, TcpTargetConfig::default()));
            self.balanced.register(TargetId::new(address.to_string()), target, RegisterOptions::default());
        }
        for address in before.difference(&settings.targets) {
            drop(self.balanced.deregister(&TargetId::new(address.to_string())));
        }
    }

    /// Whether requests wait from now on for the first task.
    fn hold_requests(&self, holds: bool) {
        let mut kept = self.kept();
        kept.holds = holds;
        self.apply_attributes(&kept);
    }

    fn apply_attributes(&self, kept: &Kept) {
        let Some(settings) = &kept.settings else { return };
        let mut attributes = settings.attributes.clone();
        if kept.holds && attributes.hold.timeout.is_zero() {
            attributes.hold = hold(true);
        }
        if self.balanced.attributes() != attributes {
            self.balanced.set_attributes(attributes);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody vouches for a task's answers: its first probe is sent at once, and a task that cannot answer it must not get a user's request. `others` are the
    /// same task at its other ports.
    pub(super) fn register(
        &self,
        task: &TaskId,
        target: Arc<dyn Target>,
        others: impl Iterator<Item = (u16, Arc<dyn Target>)>,
        vouched: CustomHealth,
    ) -> watch::Receiver<TargetHealth> {
        let id = TargetId::new(task.as_str());
        let (health, receiver) = watch::channel(TargetHealth::Initial);
        self.registered().insert(id.clone(), Told { health, vouched });
        // First: who waits for a task at one of them goes on when the task is there.
        self.others.register(&id, others);
        let options =
            RegisterOptions { custom_health: vouched, ..RegisterOptions::new(TargetState::Initial) };
        self.balanced.register(id.clone(), target, options);
        // With health checks disabled it is usable from the beginning, which may have been told before it was asked for.
        self.tell_of(&id);
        receiver
    }

    /// Notes what a task's containers' own checks say of it.
    pub(super) fn vouch(&self, task: &TaskId, vouched: CustomHealth) {
        let id = TargetId::new(task.as_str());
        if let Some(told) = self.registered().get_mut(&id) {
            told.vouched = vouched;
        }
        self.balanced.vouch(&id, vouched);
        self.tell_of(&id);
    }

    fn tell_of(&self, id: &TargetId) {
        // First: what changes after the look is told after it.
        let registered = self.registered();
        if let (Some(told), Some(target)) = (registered.get(id), self.balanced.target(id)) {
            note(told, &target, &self.others);
        }
    }

    pub(super) fn demand(&self) -> BoxFuture<'static, ()> {
        let balanced = Arc::clone(&self.balanced);
        async move { balanced.demand().await }.boxed()
    }

    pub(super) fn meter(&self, task: &TaskId) -> Option<TargetMeter> {
        self.balanced.meter(&TargetId::new(task.as_str()))
    }

    /// The same of its requests at one of its other ports.
    pub(super) fn meter_at(&self, port: u16, task: &TaskId) -> Option<TargetMeter> {
        self.others.meter(port, &TargetId::new(task.as_str()))
    }

    pub(super) fn deregister(&self, task: &TaskId) -> BoxFuture<'static, ()> {
        let id = TargetId::new(task.as_str());
        self.registered().remove(&id);
        let (here, elsewhere) = (self.balanced.deregister(&id), self.others.deregister(&id));
        async move {
            tokio::join!(here, elsewhere);
        }
        .boxed()
    }

    fn registered(&self) -> MutexGuard<'_, HashMap<TargetId, Told>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn production(&self) -> MutexGuard<'_, Vec<(TargetGroup, u32)>> {
        self.production.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests wait for the first task of a service that scales to zero.
fn hold(scales_to_zero: bool) -> HoldPolicy {
    let timeout = if scales_to_zero { FIRST_TASK_WITHIN } else { Duration::ZERO };
    HoldPolicy { timeout, ..HoldPolicy::default() }
}

pub(super) fn refused(address: SocketAddr, error: &BalancerError) -> PublishError {
    match error {
        BalancerError::PortInUse { address } => PublishError::PortInUse(*address),
        BalancerError::Bind { address, source } => PublishError::Refused(*address, source.to_string()),
        error => PublishError::Refused(address, in_words(error)),
    }
}

/// Requests to these groups in proportion. `None` where there is no group.
pub(super) fn split(
    groups: impl Iterator<Item = (Arc<coracle_balancer::TargetGroup>, u32)>,
) -> Option<Forward> {
    let groups: Vec<_> = groups.collect();
    match groups.as_slice() {
        [(group, _)] => Some(Arc::clone(group).into()),
        // Thousandths of which no group has all are weights that the balancer takes.
        _ => Forward::weighted(groups, None).ok(),
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.teller.abort();
    }
}

async fn tell(
    mut changes: watch::Receiver<u64>,
    group: Arc<coracle_balancer::TargetGroup>,
    registered: Arc<Registered>,
    others: Arc<OtherPorts>,
) {
    // Changes that come while all targets are looked at are one more look, not one each.
    while changes.changed().await.is_ok() {
        let began = Instant::now();
        note_all(&group, &registered, &others);
        // Each of thousands of targets that start together is a change, and a look at all of them. A small group never waits here.
        let pause = began.elapsed() * PAUSE_PER_LOOK;
        if pause >= WORTH_A_PAUSE {
            sleep(pause).await;
        }
    }
}

fn note_all(group: &coracle_balancer::TargetGroup, registered: &Registered, others: &OtherPorts) {
    let targets = group.targets();
    let registered = registered.lock().unwrap_or_else(PoisonError::into_inner);
    for target in &targets {
        if let Some(told) = registered.get(&target.id) {
            note(told, target, others);
        }
    }
}

fn note(told: &Told, target: &TargetDescription, others: &OtherPorts) {
    let (seen, found) = match target.state {
        TargetState::Healthy | TargetState::Unavailable => (TargetHealth::Healthy, CustomHealth::Healthy),
        TargetState::Unhealthy => {
            let reason = target.description.clone().or_else(|| target.reason.map(str::to_owned));
            let reason = reason.unwrap_or_else(|| "Health checks failed".to_owned());
            (TargetHealth::Unhealthy { reason }, CustomHealth::Unhealthy)
        }
        TargetState::Initial | TargetState::Unused => (TargetHealth::Initial, CustomHealth::Unknown),
        // Whoever let it drain knows.
        TargetState::Draining => return,
    };
    // A task is as well at its other ports as it is at the one that is checked.
    others.vouch(&target.id, told.vouched.max(found));
    told.health.send_if_modified(|known| {
        let news = *known != seen;
        *known = seen;
        news
    });
}

/// A task without health checks of its own is as well as its target group finds it.
pub(super) fn vouched(health: Option<HealthStatus>) -> CustomHealth {
    match health {
        None | Some(HealthStatus::Healthy) => CustomHealth::Healthy,
        Some(HealthStatus::Unknown) => CustomHealth::Unknown,
        Some(HealthStatus::Unhealthy) => CustomHealth::Unhealthy,
    }
}

/// A handler's container as a target: a request is a call in this process. Whichever runs now: a container may be started again in its place.
pub(super) struct HandlerTarget {
    pub(super) container: Arc<ArcSwap<Container>>,
    /// Where it is answered, too, for programs that connect by themselves.
    pub(super) socket: Option<SocketAddr>,
}

impl Target for HandlerTarget {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        let response = self.container.load().handle(request);
        async move { Ok(response.await.map_err(unanswered)?.map(Body::boxed)) }.boxed()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        self.socket
    }
}

fn unanswered(error: HandleError<Body>) -> TargetError {
    match error {
        HandleError::Stopped(request) => {
            TargetError::Unreached { request: Some(*request), source: BoxError::from("the task is stopped") }
        }
        HandleError::NotAHandler(request) => TargetError::Unreached {
            request: Some(*request),
            source: BoxError::from("the image handles no requests"),
        },
        HandleError::Overloaded(request) => TargetError::Overloaded { request: Some(*request) },
        HandleError::TimedOut => TargetError::Timeout,
        error => TargetError::Failed(BoxError::from(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use coracle_balancer::HealthCheckConfig;

    use super::*;

    #[derive(Debug)]
    struct Mute;

    impl Target for Mute {
        fn call(&self, _request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_of_a_target_before_the_groups_task_has_had_a_turn_is_told() {
        let publication = Publication::of_kept(&HealthCheckConfig::default(), Duration::ZERO);
        let group = Group::new(&TargetGroup { arn: "arn".into(), name: "web".into(), publication });
        let task = TaskId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let others = std::iter::empty();
        let mut health = group.register(&task, Arc::new(Mute), others, CustomHealth::Healthy);
        assert_eq!(*health.borrow(), TargetHealth::Initial);
        group.balanced.set_health_check(HealthCheckConfig::disabled());
        let told = health.wait_for(|health| *health == TargetHealth::Healthy);
        tokio::time::timeout(Duration::from_secs(60), told).await.unwrap().unwrap();
    }
}
