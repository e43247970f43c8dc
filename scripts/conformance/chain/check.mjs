// The local chain as polkadot.js meets it. Arguments: the node's address, netuid, folder of the wallets, folder of the packages.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [url, netuid, wallets, packages] = process.argv.slice(2)
const { ApiPromise, Keyring, WsProvider } = createRequire(`${packages}/`)('@polkadot/api')
const failed = []
const check = (name, ok, seen) => {
  console.log(`${(ok ? 'OK' : 'FAIL').padEnd(5)}${name.padEnd(14)}${seen}`)
  if (!ok) failed.push(name)
}
const hotkey = (name) => JSON.parse(readFileSync(`${wallets}/${name}/hotkeys/default`, 'utf8'))
// polkadot.js reports only the newest of two states in a row, so `inBlock` may be skipped.
const send = (tx, key) => new Promise((resolve, reject) => {
  tx.signAndSend(key, (result) => { if (result.isInBlock || result.isFinalized) resolve(result) }).catch(reject)
})

const api = await ApiPromise.create({ provider: new WsProvider(url), noInitWarn: true })
const miner = new Keyring({ type: 'sr25519', ss58Format: 42 }).addFromUri(hotkey('miner-1').secretPhrase)
const version = api.runtimeVersion
check('runtime', version.specName.toString() === 'node-subtensor', `${version.specName} ${version.specVersion}`)
check('metadata', api.query.subtensorModule && api.tx.commitments, `version ${api.runtimeMetadata.version}`)

const graph = (await api.call.subnetInfoRuntimeApi.getMetagraph(netuid)).unwrap()
const hotkeys = graph.hotkeys.map(String)
const wanted = ['validator', 'miner-1'].map((name) => hotkey(name).ss58Address)
check('metagraph', hotkeys.join() === wanted.join(), `${hotkeys.length} neurons`)
const uid = await api.query.subtensorModule.uids(netuid, miner.address)
check('storage', uid.toString() === '1', `uid ${uid}`)
const keys = await api.query.subtensorModule.keys.entries(netuid)
check('storage map', keys.length === 2, `${keys.length} entries`)
check('constant', api.consts.aura.slotDuration.toNumber() === 500, `${api.consts.aura.slotDuration} ms`)

const committed = await send(api.tx.commitments.setCommitment(netuid, { fields: [{ Raw9: 'js-bucket' }] }), miner)
const names = committed.events.map(({ event }) => `${event.section}.${event.method}`)
check('extrinsic', !committed.dispatchError, committed.status.value)
check('events', names.includes('commitments.Commitment') && names.includes('system.ExtrinsicSuccess'), names)
const stored = JSON.stringify((await api.query.commitments.commitmentOf(netuid, miner.address)).toHuman())
check('read back', stored.includes('js-bucket'), stored)

let refusal
try {
  const refused = await send(api.tx.subtensorModule.setWeights(netuid, [0], [65535], 0), miner)
  refusal = refused.dispatchError?.isModule ? api.registry.findMetaError(refused.dispatchError.asModule).name : String(refused.dispatchError)
} catch (error) { refusal = String(error) }
check('refusal', refusal.includes('NeuronNoValidatorPermit'), refusal)

const heads = await new Promise((resolve) => {
  const seen = []
  api.rpc.chain.subscribeNewHeads((header) => { if (seen.push(header.number.toNumber()) === 3) resolve(seen) })
})
check('heads', heads[1] === heads[0] + 1 && heads[2] === heads[1] + 1, heads)
await api.disconnect()
process.exit(failed.length ? 1 : 0)
