if Code.ensure_loaded?(Explorer.DataFrame) do
  defmodule DSPex.Integrations.Explorer do
    @moduledoc """
    Explorer's frames in the inputs and outputs of programs. Inputs need nothing: an `Explorer.DataFrame` is sent as an Arrow
    table. What comes back is a `DSPex.Table`, and becomes a frame by `to_frame/1`.

        {:ok, prediction} = DSPex.call(program, %{sales: Explorer.DataFrame.new(day: [1, 2], sold: [7, 9])})
        DSPex.Integrations.Explorer.to_frame(prediction["totals"])
    """

    @doc "Makes a `DSPex.Table` of a frame; a lazy one is computed."
    @spec from_frame(struct) :: DSPex.Table.t()
    def from_frame(frame),
      do: frame |> Explorer.DataFrame.collect() |> Explorer.DataFrame.dump_ipc_stream!() |> DSPex.Table.new()

    @doc "Makes a frame of a `DSPex.Table`."
    @spec to_frame(DSPex.Table.t()) :: struct
    def to_frame(%DSPex.Table{ipc: ipc}), do: Explorer.DataFrame.load_ipc_stream!(ipc)
  end

  defimpl DSPex.Value, for: Explorer.DataFrame do
    defdelegate to_value(frame), to: DSPex.Integrations.Explorer, as: :from_frame
  end
end
