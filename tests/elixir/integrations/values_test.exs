defmodule DSPex.Integrations.ValuesTest do
  # Nx and Explorer are no packages of these tests: modules of their shape stand in for them while the integrations are
  # compiled. Structs of a test's own need nothing.
  use ExUnit.Case, async: false

  alias DSPex.Test.Peer
  alias DSPex.Wire.Json
  alias DSPex.Wire.Msgpack

  defmodule Money do
    defstruct [:amount, :currency]
  end

  defmodule Plain do
    defstruct [:b, :a]
  end

  defmodule Refused do
    defstruct []
  end

  defimpl DSPex.Value, for: Money do
    def to_value(money), do: {money.amount, %{"currency" => money.currency}}
  end

  defimpl DSPex.Value, for: Refused do
    def to_value(_refused), do: raise(ArgumentError, "it is a secret")
  end

  @folder "elixir_client/lib/dspex/integrations"
  @nx """
  defmodule Nx.Tensor do
    defstruct [:data, :type, :shape, :names]
  end

  defmodule Nx do
    def type(tensor), do: tensor.type
    def shape(tensor), do: tensor.shape
    def to_binary(tensor), do: tensor.data
    def from_binary(data, {_kind, bits} = type), do: %Nx.Tensor{data: data, type: type, shape: {div(8 * byte_size(data), bits)}}
    def reshape(tensor, shape), do: %{tensor | shape: shape}
  end
  """
  @explorer """
  defmodule Explorer.DataFrame do
    defstruct [:data]
    def collect(frame), do: frame
    def dump_ipc_stream!(frame), do: frame.data
    def load_ipc_stream!(ipc), do: struct!(__MODULE__, data: ipc)
  end
  """

  defp stand_in(source, files) do
    files = Enum.flat_map(files, &Code.compile_file(Path.join(@folder, &1)))
    modules = Enum.map(source ++ files, &elem(&1, 0))
    on_exit(fn -> for module <- modules, do: {:code.delete(module), :code.purge(module)} end)
  end

  # Sent by the one encoding and read back.
  defp through(term, codec) do
    with {:ok, body, parts} <- codec.encode(term, %DSPex.Wire.Limits{attach: 64}),
         do: codec.decode(IO.iodata_to_binary(body), %DSPex.Wire.Limits{}, parts)
  end

  @tag req: "FR1.2.4"
  test "a struct is sent as its implementation says, else as a map of its fields" do
    for codec <- [Json, Msgpack] do
      assert {:ok, [{7, %{"currency" => "EUR"}}]} = through([%Money{amount: 7, currency: "EUR"}], codec)
      assert {:ok, %{"a" => 1, "b" => 2}} = through(%Plain{a: 1, b: 2}, codec)

      assert {:ok, %{"large" => _bytes, "money" => {1, _map}}} =
               through(%{large: :binary.copy(<<255>>, 100), money: %Money{amount: 1}}, codec)

      assert {:error, %DSPex.Error{reason: :invalid_input, message: "it is a secret"}} = through(%Refused{}, codec)
    end
  end

  @tag req: ["NFR5.2.3", "FR1.2.4"]
  test "Nx's tensors go as tensors, small and large, and come back as Nx's" do
    stand_in(Code.compile_string(@nx), ["nx.ex"])
    integration = DSPex.Integrations.Nx
    small = struct!(Nx.Tensor, data: <<1.0::float-32-little, 2.0::float-32-little>>, type: {:f, 32}, shape: {1, 2})
    large = struct!(Nx.Tensor, data: :binary.copy(<<7>>, 6_000), type: {:u, 8}, shape: {60, 100})

    for codec <- [Json, Msgpack], tensor <- [small, large] do
      assert {:ok, %{"x" => %DSPex.Tensor{} = back}} = through(%{x: tensor}, codec)
      assert apply(integration, :to_nx, [back]) == tensor
    end

    scalar = struct!(Nx.Tensor, data: <<9::64-little>>, type: {:s, 64}, shape: {})
    assert {:ok, %DSPex.Tensor{shape: [], dtype: "s64"}} = through(scalar, Json)
    bool = %DSPex.Tensor{dtype: "bool", shape: [2], data: <<0, 1>>}
    assert %{type: {:u, 8}, shape: {2}} = apply(integration, :to_nx, [bool])
    complex = struct!(Nx.Tensor, data: <<0::128>>, type: {:c, 128}, shape: {})
    assert {:error, %DSPex.Error{reason: :invalid_input, message: message}} = through(complex, Json)
    assert message =~ ~s("c128" is no dtype)
    instance = Peer.start_instance(__MODULE__.Nx, %{})

    assert {:ok, %{"value" => %DSPex.Tensor{dtype: "f32"}}} =
             DSPex.request("echo", [{"value", small}], instance: instance)
  end

  @tag req: "FR1.2.4"
  test "Explorer's frames go as Arrow tables and come back as frames" do
    stand_in(Code.compile_string(@explorer), ["explorer.ex"])
    frame = struct!(Explorer.DataFrame, data: :binary.copy("arrow", 1_000))

    for codec <- [Json, Msgpack] do
      assert {:ok, [%DSPex.Table{} = table]} = through([frame], codec)
      assert apply(DSPex.Integrations.Explorer, :to_frame, [table]) == frame
    end
  end
end
