//! What one change costs where there are many services: work for its own service, and for no other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::alone::alone;
use crate::store::{Seen, StoreFaults, Troubles};
use crate::world::World;

/// Far less than any loop's period.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Notes the services that the scheduler looks at.
#[derive(Clone, Default)]
struct Looks(Arc<Mutex<Vec<String>>>);

impl Subscriber for Looks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("coracle_supervisor::scheduler")
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut look = Look::default();
        event.record(&mut look);
        if look.is_one {
            self.0.lock().unwrap().push(look.service);
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Look {
    is_one: bool,
    service: String,
}

impl Visit for Look {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.is_one = format!("{value:?}") == "looks at a service",
            "service" => self.service = format!("{value:?}"),
            _ => {}
        }
    }
}

/// What one task more costs beside so many services.
async fn cost_beside(services: usize) -> (usize, Seen) {
    let troubles = Troubles::new(1, StoreFaults::default());
    let world = World::with_troubles(troubles.clone()).await;
    world
        .define(json!({"family": "app", "containerDefinitions": [{"name": "app", "image": "good.wasm"}]}))
        .await;
    for number in 0..services {
        let mut request =
            world.service_request(&format!("s{number}"), 2, &[("coracle.listen", "127.0.0.1:0")]);
        request.task_definition = "app".to_owned();
        world.supervisor.create_service(request).await.unwrap();
    }
    for number in 0..services {
        world.until_steady(&format!("s{number}")).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    troubles.take_seen();
    let looks = Looks::default();
    let counted = tracing::subscriber::set_default(looks.clone());
    world.scale("s1", 3).await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    drop(counted);
    let seen = troubles.take_seen();
    assert_eq!(world.running("s1").await.len(), 3);
    let looked_at: BTreeSet<String> = looks.0.lock().unwrap().iter().cloned().collect();
    assert_eq!(looked_at, BTreeSet::from(["s1".to_owned()]));
    let looks = looks.0.lock().unwrap().len();
    (looks, seen)
}

#[tokio::test(start_paused = true)]
async fn one_change_costs_the_same_beside_ten_services_and_beside_three_hundred() {
    // Which messages anybody wants is noted for the whole process, by whichever test comes first.
    if !alone("scale::one_change_costs_the_same_beside_ten_services_and_beside_three_hundred") {
        return;
    }
    let (few_looks, few) = cost_beside(10).await;
    let (many_looks, many) = cost_beside(300).await;
    let of_others = |keys: &[String]| -> Vec<String> {
        keys.iter()
            .filter(|key| key.contains("/s") && !key.contains("/s1") && key.contains("service"))
            .cloned()
            .collect()
    };
    assert_eq!(of_others(&many.writes), Vec::<String>::new());
    assert_eq!(of_others(&many.reads), Vec::<String>::new());
    assert!(few_looks > 0 && few.writes.len() > 3, "{few_looks} looks, {few:?}");
    assert_eq!(
        (few_looks, few.reads.len(), few.writes.len()),
        (many_looks, many.reads.len(), many.writes.len()),
        "looks, reads and writes: {few:?} {many:?}"
    );
}
