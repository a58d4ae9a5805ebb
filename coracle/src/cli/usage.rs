//! `coracle usage`

mod prices;

use coracle_supervisor::operations::{Amounts, DescribeUsageRequest, DescribeUsageResponse};
use serde_json::{Value, json};

use super::{
    args::UsageArgs,
    client::Client,
    error::Failure,
    output::{self, Table, short_id},
};
use prices::PriceTable;

/// The capacity providers whose prices are columns of the table.
const COLUMNS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

pub(crate) async fn main(args: UsageArgs) -> Result<(), Failure> {
    let prices = match &args.prices {
        Some(path) => PriceTable::read(path)?,
        None => PriceTable::fargate(),
    };
    let request =
        DescribeUsageRequest { cluster: args.cluster, month: args.month, include_tasks: args.tasks };
    let usage: DescribeUsageResponse = Client::new(&args.api).coracle("DescribeUsage", &request).await?;
    let everything = with_costs(&usage, &prices);
    output::print(args.api.output.output, &everything, || table(&usage, &prices))
}

/// The daemon's answer with what it costs.
fn with_costs(usage: &DescribeUsageResponse, prices: &PriceTable) -> Value {
    let mut everything = json!(usage);
    let costs = |capacity: &str, amounts: &Amounts| {
        json!({
            "cost": prices.cost(capacity, amounts, false),
            "costWithMinimum": prices.cost(capacity, amounts, true),
            "costByCapacityProvider": prices
                .prices
                .keys()
                .map(|of| (of.clone(), json!(prices.cost(of, amounts, false))))
                .collect::<serde_json::Map<_, _>>(),
        })
    };
    for (index, row) in usage.usage.iter().enumerate() {
        everything["usage"][index]["costs"] = costs(&row.capacity_provider, &row.amounts);
    }
    for (index, row) in usage.tasks.iter().enumerate() {
        everything["tasks"][index]["costs"] = costs(&row.capacity_provider, &row.amounts);
    }
    everything["priceTable"] = json!(prices);
    everything
}

fn table(usage: &DescribeUsageResponse, prices: &PriceTable) -> String {
    let mut table = Table::new([
        "USED BY",
        "CAPACITY",
        "TASKS",
        "VCPU S",
        "GIB S",
        "CPU S",
        "REQUESTS",
        "FUEL",
        "COST",
        "WITH MINIMUM",
        COLUMNS[0],
        COLUMNS[1],
    ]);
    let mut row = |name: String, capacity: &str, amounts: &Amounts| {
        table.row([
            name,
            capacity.to_owned(),
            amounts.tasks.to_string(),
            format!("{:.2}", amounts.vcpu_seconds),
            format!("{:.2}", amounts.gib_seconds),
            format!("{:.3}", amounts.cpu_seconds),
            amounts.requests.to_string(),
            amounts.fuel.to_string(),
            money(prices.cost(capacity, amounts, false)),
            money(prices.cost(capacity, amounts, true)),
            money(prices.cost(COLUMNS[0], amounts, false)),
            money(prices.cost(COLUMNS[1], amounts, false)),
        ]);
    };
    for used in &usage.usage {
        let name = match (&used.service, &used.family) {
            (Some(service), _) => format!("{}/{service}", used.cluster),
            (None, family) => format!("{}/{} (tasks)", used.cluster, family.as_deref().unwrap_or_default()),
        };
        row(name, &used.capacity_provider, &used.amounts);
    }
    for task in &usage.tasks {
        row(short_id(&task.task_arn).to_owned(), &task.capacity_provider, &task.amounts);
    }
    let total: f64 = usage
        .usage
        .iter()
        .filter_map(|used| prices.cost(&used.capacity_provider, &used.amounts, false))
        .sum();
    format!(
        "{}\n{}: {} {} (prices: {})\n",
        table.render(),
        usage.month,
        money(Some(total)),
        prices.currency,
        if prices.source.is_empty() { "of the file" } else { &prices.source }
    )
}

fn money(amount: Option<f64>) -> String {
    amount.map_or_else(|| "-".to_owned(), |amount| format!("{amount:.6}"))
}
