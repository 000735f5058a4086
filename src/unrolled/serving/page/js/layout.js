// Where the boxes of a layered graph stand, and which way its arrows go. Pure: numbers in, numbers out.

const GAP = { x: 12, y: 44 };
const LANE = 14; // the width that an arrow takes in a layer that it passes

// nodes: {id, layer}; edges: [from, to]; size: {width, height} of a box. Returns {places: Map id -> {x, y}, arrows:
// [{from, to, points}], width, height}; x and y are of the upper left corner.
export function layered(nodes, edges, size) {
  const rows = [];
  const put = (item) => { (rows[item.layer] ||= []).push(item); return item; };
  const items = new Map(nodes.map((node) => [node.id, put({ layer: node.layer, width: size.width, near: [] })]));
  const chains = edges.map(([from, to]) => chain(items.get(from), items.get(to), put));
  for (let sweep = 0; sweep < 8; sweep += 1) order(rows, sweep % 2 === 0);
  const width = Math.max(...rows.map(rowWidth));
  rows.forEach((row) => spread(row, width));
  for (let round = 0; round < 40; round += 1) rows.forEach((row) => settle(row, width));
  const y = (layer) => layer * (size.height + GAP.y);
  return {
    width, height: y(rows.length - 1) + size.height,
    places: new Map(nodes.map((node) => [node.id, { x: items.get(node.id).x, y: y(node.layer) }])),
    arrows: edges.map(([from, to], place) => ({ from, to, points: route(chains[place], y, size.height) })),
  };
}

// An arrow that passes layers holds a place in each of them.
function chain(from, to, put) {
  const found = [from];
  for (let layer = from.layer + 1; layer < to.layer; layer += 1) found.push(put({ layer, width: LANE, near: [] }));
  found.push(to);
  for (let place = 1; place < found.length; place += 1) {
    found[place].near.push(found[place - 1]);
    found[place - 1].near.push(found[place]);
  }
  return found;
}

function order(rows, down) {
  rows.forEach((row) => row.forEach((item, place) => { item.place = place / Math.max(1, row.length - 1); }));
  for (const row of down ? rows : [...rows].reverse()) {
    for (const item of row) {
      const beside = item.near.filter((one) => (down ? one.layer < item.layer : one.layer > item.layer));
      item.weight = beside.length ? mean(beside.map((one) => one.place)) : item.place;
    }
    row.sort((a, b) => a.weight - b.weight);
    row.forEach((item, place) => { item.place = row.length > 1 ? place / (row.length - 1) : 0.5; });
  }
}

const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
const rowWidth = (row) => row.reduce((sum, item) => sum + item.width + GAP.x, -GAP.x);

function spread(row, width) {
  const gap = (width - row.reduce((sum, item) => sum + item.width, 0)) / (row.length + 1);
  let x = gap;
  for (const item of row) {
    item.x = x;
    x += item.width + gap;
  }
}

// Each towards the middle of its neighbours, as far as those in its row leave room.
function settle(row, width) {
  row.forEach((item, place) => {
    const wanted = mean(item.near.map((one) => one.x + one.width / 2)) - item.width / 2;
    const least = place ? row[place - 1].x + row[place - 1].width + GAP.x : 0;
    const most = (place + 1 < row.length ? row[place + 1].x - GAP.x : width) - item.width;
    if (most >= least) item.x = Math.min(most, Math.max(least, item.near.length ? item.width === LANE ? wanted : (item.x + wanted) / 2 : item.x));
  });
}

function route(chain, y, height) {
  const middle = (item) => item.x + item.width / 2;
  const points = [[middle(chain[0]), y(chain[0].layer) + height]];
  for (const item of chain.slice(1, -1)) points.push([middle(item), y(item.layer)], [middle(item), y(item.layer) + height]);
  points.push([middle(chain.at(-1)), y(chain.at(-1).layer)]);
  return points;
}
