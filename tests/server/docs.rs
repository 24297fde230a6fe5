//! Every SQL example of the documents for users runs unchanged, in order.

use crate::support::server::Server;
use std::path::Path;

/// The value of `$1` in the examples.
const QUERY: &str = "(SELECT embedding FROM items WHERE id = 42)";

/// The blocks of SQL in a document.
fn examples(text: &str) -> impl Iterator<Item = &str> {
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default())
}

#[test]
fn examples_of_documents_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for document in ["README.md", "docs/security.md", "docs/format.md", "docs/decisions.md"] {
        let text = std::fs::read_to_string(root.join(document)).expect(document);
        let mut client = None;
        for example in examples(&text) {
            let (_, client) = client.get_or_insert_with(|| {
                let server = Server::start(&["fsync = off"]);
                let client = server.connect();
                (server, client)
            });
            let example = example.replace("$1", QUERY);
            client.batch_execute(&example).unwrap_or_else(|error| panic!("{document}: {example}: {error:?}"));
            count += 1;
        }
    }
    assert!(count > 5, "{count}");
}
