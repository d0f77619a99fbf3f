defmodule DSPex.Interop.TableTest do
  # Arrow tables and tensors through a real worker: as they went, and through a program that has them as a pyarrow.Table and
  # a numpy.ndarray. Without Explorer the tables are bytes here; Python makes and reads them.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Table
  alias DSPex.Tensor

  @moduletag timeout: 180_000
  @totals "tests.python.engine.custom_modules:Totals"
  @program DSPex.Program.new(
             "custom",
             "sales: Any, weights: Any -> totals: Any, scaled: Any, same: Any, kinds: list[str]",
             import: @totals
           )

  setup_all do
    pool = [workers: 1, lm: "offline/extractive", settings: [allowed_imports: [@totals]]]
    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    %{small: table(4), large: table(60_000)}
  end

  # Two columns of so many rows, made by pyarrow.
  defp table(rows) do
    python("""
    import pyarrow as pa
    table = pa.table({"shop": [f"shop {n % 4}" for n in range(#{rows})], "sold": list(range(#{rows}))})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=50_000)
    """)
    |> Table.new()
  end

  # What the code wrote to the file at `path`, where `given` lies before.
  defp python(code, given \\ "") do
    path = Path.join(System.tmp_dir!(), "dspex-table-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.write!(path, given)
    {:ok, python} = DSPex.Worker.Launch.python([])

    try do
      assert {"", 0} = System.cmd(python, ["-c", "path = #{inspect(path)}\n" <> code], stderr_to_stdout: true)
      File.read!(path)
    after
      File.rm(path)
    end
  end

  defp rows(%Table{ipc: ipc}) do
    json =
      python(
        """
        import json, pyarrow as pa
        rows = pa.ipc.open_stream(open(path, "rb").read()).read_all().to_pylist()
        open(path, "w").write(json.dumps(rows))
        """,
        ipc
      )

    {:ok, rows} = DSPex.Wire.Json.decode(json)
    rows
  end

  defp echo(value, options),
    do: DSPex.request("echo", [{"value", value}], [instance: __MODULE__, timeout: 60_000] ++ options)

  @tag req: ["FR1.2.4", "FR2.2.2"]
  test "tables and tensors come back byte by byte, small ones inline and large ones as attachments", context do
    assert byte_size(context.large.ipc) > 1_000_000

    tensors =
      for dtype <- ~w(u8 u16 u32 u64 s8 s16 s32 s64 f16 bf16 f32 f64 bool),
          do: %Tensor{dtype: dtype, shape: [2, 0, 3], data: ""}

    big = %Tensor{dtype: "f64", shape: [500, 400], data: :crypto.strong_rand_bytes(1_600_000)}

    for encoding <- [:json, :msgpack], value <- [context.small, context.large, [context.small, big, tensors], big] do
      assert {:ok, %{"value" => ^value}} = echo(value, encoding: encoding)
    end
  end

  @tag req: "FR2.2.2"
  test "the threshold of attachments is the pool's, in both directions" do
    for {bytes, multipart?} <- [{99, true}, {100, false}] do
      test = self()
      name = Module.concat(__MODULE__, "Attach#{bytes}")
      script = %{"initialize" => &greet(&1, &2, &3, test)}
      peer = fn -> watched(DSPex.Test.Peer.start(script), test) end
      pool = [workers: 1, transport: {DSPex.Transport.Memory, peer: peer}, attachment_bytes: bytes]
      start_supervised!({DSPex, name: name, pools: [default: pool]})
      value = DSPex.Bytes.new(:binary.copy("x", 100))
      assert {:ok, %{"value" => ^value}} = DSPex.request("echo", [{"value", value}], instance: name)
      assert_received {:limits, %{"attachment_bytes" => ^bytes}}
      assert multipart? == asked_multipart?()
      stop_supervised!(name)
    end
  end

  defp greet(link, id, params, test) do
    send(test, {:limits, params["limits"]})
    DSPex.Test.Peer.default("initialize", link, id, params)
  end

  # A process before the peer that shows the test what comes.
  defp watched(peer, test) do
    spawn(fn ->
      Stream.repeatedly(fn -> receive(do: (message -> message)) end)
      |> Enum.each(fn message -> for pid <- [peer, test], do: send(pid, message) end)
    end)
  end

  defp asked_multipart? do
    receive do
      {:dspex_memory, _link, {:data, <<_length::32, 1, _rest::binary>>}} -> true
      {:dspex_memory, _link, _what} -> asked_multipart?()
    after
      0 -> false
    end
  end

  @tag req: ["FR1.2.4", "FR2.2.2", "FR1.1.3"]
  test "a program of the server's own has them as a pyarrow.Table and a numpy.ndarray, and gives such", context do
    weights = Tensor.from_list("f32", [2, 2], [1.0, 2.0, 3.0, 4.5])

    for encoding <- [:json, :msgpack], sales <- [context.small, context.large] do
      inputs = %{sales: sales, weights: weights}
      options = [instance: __MODULE__, encoding: encoding, timeout: 60_000]
      assert {:ok, prediction} = DSPex.call(@program, inputs, options)
      assert prediction["kinds"] == ["Table", "float32"]
      assert prediction["scaled"] == Tensor.from_list("f32", [2, 2], [2.0, 4.0, 6.0, 9.0])
      assert rows(prediction["same"]) == rows(sales)
      totals = sales |> rows() |> Enum.group_by(& &1["shop"], & &1["sold"])

      assert rows(prediction["totals"]) ==
               for({shop, sold} <- Enum.sort(totals), do: %{"shop" => shop, "sold_sum" => Enum.sum(sold)})
    end
  end

  @tag req: ["FR1.2.4", "NFR2.2.2"]
  test "bytes that are no table are refused by the input's name" do
    inputs = %{sales: Table.new("nonsense"), weights: Tensor.from_list("f32", [1], [1.0])}
    assert {:error, %Error{reason: :invalid_input} = error} = DSPex.call(@program, inputs, instance: __MODULE__)
    assert [%{"path" => "sales", "message" => message}] = error.details["problems"]
    assert message =~ "no Arrow IPC stream"
  end
end
