defmodule DSPex.LM do
  @moduledoc """
  The LMs that the workers' settings name.

      {:ok, lms} = DSPex.LM.list(instance: MyApp.DSPex)
      {:ok, %{"latency_ms" => ms}} = DSPex.LM.test("big", instance: MyApp.DSPex)
      DSPex.call(DSPex.LM.with(program, "big"), inputs, instance: MyApp.DSPex)

  LMs that Elixir asks by itself are `DSPex.Native.LM`.
  """

  alias DSPex.Caller
  alias DSPex.Error
  alias DSPex.Program

  @doc """
  The LMs of a worker: a list of maps with `"name"`, `"model"`, `"default"` and `"cache"`. Options as in `DSPex.request/3`.
  """
  @spec list(keyword) :: {:ok, [map]} | {:error, Error.t()}
  def list(options \\ []) do
    with :ok <- DSPex.Check.all(options: options),
         {:ok, %{"lms" => lms}} <- Caller.request("lm.list", [], options),
         do: {:ok, lms}
  end

  @doc """
  Asks an LM (`nil`: the default one) for one word. Gives a map with `"latency_ms"`, `"model"`, `"usage"` and `"cost"`, or
  the `:lm_error` that the LM gave: a wrong key, an address without a server.
  """
  @spec test(String.t() | nil, keyword) :: {:ok, map} | {:error, Error.t()}
  def test(name \\ nil, options \\ []) do
    with :ok <- DSPex.Check.all(options: options),
         do: Caller.request("lm.test", if(name == nil, do: [], else: [{"lm", name}]), options)
  end

  @doc """
  The program with another LM; parameters of the LM that it had stay.

      iex> DSPex.LM.with(DSPex.Predict.new("question -> answer"), "big").lm
      "big"
      iex> DSPex.LM.with(DSPex.Predict.new("q -> a", lm: %{"name" => "small", "params" => %{"n" => 2}}), "big").lm
      %{"name" => "big", "params" => %{"n" => 2}}
  """
  @spec with(Program.t(), String.t()) :: Program.t()
  def with(%Program{lm: %DSPex.Ordered{} = lm} = program, name) when is_binary(name),
    do: %{program | lm: lm |> DSPex.Ordered.to_map(deep: true) |> Map.put("name", name)}

  def with(%Program{lm: %{} = lm} = program, name) when is_binary(name),
    do: %{program | lm: Map.put(lm, "name", name)}

  def with(%Program{} = program, name) when is_binary(name), do: %{program | lm: name}

  def with(%Program{}, name),
    do: raise(ArgumentError, "DSPex.LM.with: the name of an LM is a text like \"big\", not #{DSPex.Check.shown(name)}")

  def with(program, _name),
    do:
      raise(
        ArgumentError,
        "DSPex.LM.with: the program is #{DSPex.Check.shown(program)}, not one of DSPex.Predict.new/2"
      )
end
